"""What libsndfile knows about a file and tells in its log alone.

Of a file cut short it counts the frames that are left, and of a damaged one it reads on behind the
damage; either is an error to whoever wanted the whole song.
"""

import re

import soundfile

_SIZES = re.compile(r"^ *(?:data|Data Size|SSND|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_COUNTS = re.compile(
    r"from 'ds64' chunk of (\d+)|read from 'COMM' chunk \((\d+)\) not equal", re.MULTILINE
)
_NO_END = ("lacks an end-of-stream bit", "without an End-Of-Stream flag", "unk after the last page")
# Of a wav header, fields that follow from each other.
_FIELD = re.compile(
    r"^ *(Channels|Sample Rate|Block Align|Bit Width|Bytes/sec) *: (\d+)", re.MULTILINE
)
_RIFF = re.compile(r"^RIFF : (\d+)", re.MULTILINE)
_GARBAGE = re.compile(r"^ *Unknown chunk marker at position (\d+)", re.MULTILINE)
_ONE_SIZE = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")


def declared_frames(file: soundfile.SoundFile) -> int | None:
    """The length that the header states, where it states one."""
    log = file.extra_info
    if count := _COUNTS.search(log):
        return int(count[1] or count[2])
    # Programs that write to a pipe do not know the size yet, and state about 2 or 4 GiB.
    cut = _SIZES.search(log)
    if cut and int(cut[1]) % 2**31 < 2**31 - 2**16 and int(cut[2]):
        return -(-file.frames * int(cut[1]) // int(cut[2]))
    return file.frames if file.frames < 2**62 else None


def trouble_of_ogg(file: soundfile.SoundFile) -> str:
    """What of an ogg stream is missing; '' for nothing."""
    log = file.extra_info
    if any(words in log for words in _NO_END):
        return "the ogg stream has no end"
    if "reports a hole" in log or "looking for the next page" in log:
        return "the ogg stream has holes"
    return ""


def contradiction(file: soundfile.SoundFile) -> str:
    """What of a wav header the rest of it belies; '' for nothing."""
    riff, garbage = _RIFF.search(file.extra_info), _GARBAGE.search(file.extra_info)
    # What comes behind the file's own end is somebody else's.
    if riff and garbage and int(garbage[1]) < int(riff[1]) + 8:
        return f"its header contradicts itself: from byte {garbage[1]} on there is no chunk"
    fields = {name: int(value) for name, value in _FIELD.findall(file.extra_info)}
    if len(fields) < 5 or not file.subtype.startswith(_ONE_SIZE):
        return ""
    channels, rate, block, bits, bytes_per_s = (
        fields[name]
        for name in ("Channels", "Sample Rate", "Block Align", "Bit Width", "Bytes/sec")
    )
    if block == channels * -(-bits // 8) and bytes_per_s == rate * block:
        return ""
    return (
        f"its header contradicts itself: {channels} channels of {bits} bits at {rate} Hz, and "
        f"{block} bytes per frame, {bytes_per_s} per second"
    )
