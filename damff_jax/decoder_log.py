"""What libsndfile knows about a file and tells in its log alone.

Of a file cut short it counts the frames that are left, and of a damaged one it reads on behind the
damage; either is an error to whoever wanted the whole song.
"""

import re

import soundfile

from damff_jax import wav

_SIZES = re.compile(r"^ *(?:data|Data Size|SSND|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_COUNTS = re.compile(
    r"from 'ds64' chunk of (\d+)|read from 'COMM' chunk \((\d+)\) not equal", re.MULTILINE
)
_NO_END = ("lacks an end-of-stream bit", "without an End-Of-Stream flag", "unk after the last page")


def declared_frames(file: soundfile.SoundFile) -> int | None:
    """The length that the header states, where it states one."""
    log = file.extra_info
    if count := _COUNTS.search(log):
        return int(count[1] or count[2])
    cut = _SIZES.search(log)
    if cut and not wav.is_unknown(int(cut[1])) and int(cut[2]):
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
