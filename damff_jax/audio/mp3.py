"""The frames of an mp3 file, counted without decoding: what a decoder skips does not stay unseen.

A decoder finds its way past damage and says nothing, and an mp3 states its length, if at all, in a
first frame that may be damaged too. But every frame says how long it is, so that a whole file is a
chain of frames without a gap.
"""

import os

from damff_jax.audio import id3

_BITRATES = {  # kbit/s of layer 3, by whether the stream is MPEG 1
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_TAGS = (b"TAG", b"APE", b"LYR", b"3DI")
_CHUNK = 2**18
# Encoders put up to this many frames of silence before and behind the sound. A tag can state more,
# but is more likely to be damaged.
_PADDING = 4


def damage(descriptor: int, decoded: int) -> str:
    """Says what is wrong with an mp3 file of which `decoded` samples came; '' for nothing.

    Of streams in free format nothing is known, and nothing said.
    """
    file = _Bytes(descriptor)
    first = _first_frame(file)
    n_frames, n_gaps, samples, place = 0, 0, 0, first
    declared = _declared_frames(file, first)
    while place < file.size:
        length, samples_of_frame = _frame(file.at(place, 4))
        if length and place + length <= file.size:
            n_frames += 1
            samples += samples_of_frame
            place += length
            continue
        if length:
            return "its last frame is cut off"
        if file.at(place, 3) in _TAGS:
            break
        # Files put one behind the other keep their tags.
        if tag := id3.length(file.at(place, 10)):
            place += tag
            continue
        following = _next_frame(file, place)
        if following is None:
            break
        n_gaps += n_frames > 0 or place > first or place == 0
        place = following
    per_frame = samples // max(n_frames, 1)
    # Some programs count the first frame too.
    if declared is not None and declared not in (n_frames - 1, n_frames):
        return f"{declared} frames declared, {n_frames - 1} found"
    if n_gaps:
        return f"damage between its frames, in {n_gaps} place{'s' * (n_gaps > 1)}"
    if n_frames and decoded < samples - _PADDING * per_frame:
        return f"{samples} samples in its frames, {decoded} decoded"
    return ""


class _Bytes:
    """A file's bytes by offset, read in chunks; the descriptor's own position stays."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._start, self._chunk = 0, b""

    def at(self, place: int, n: int) -> bytes:
        offset = place - self._start
        if offset < 0 or offset + n > len(self._chunk):
            self._start, offset = place, 0
            self._chunk = os.pread(self._descriptor, max(_CHUNK, n), place)
        return self._chunk[offset : offset + n]


def _frame(header: bytes) -> tuple[int, int]:
    """A frame's bytes and samples, by its header; (0, 0) if it is none of layer 3."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0, 0
    version, rate, bitrate = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or bitrate in (0, 15) or header[3] & 3 == 2:
        return 0, 0
    is_mpeg1 = version == 3
    hz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 1152 if is_mpeg1 else 576
    return samples // 8 * 1000 * _BITRATES[is_mpeg1][bitrate] // hz + (header[2] >> 1 & 1), samples


def _first_frame(file: _Bytes) -> int:
    """Where sound begins behind the tags."""
    place = 0
    while tag := id3.length(file.at(place, 10)):
        place += tag
    while place < file.size and file.at(place, 1) == b"\0":
        place += 1  # Padding of the tag.
    return place


def _next_frame(file: _Bytes, place: int) -> int | None:
    """The next place from which two frames follow each other, or one ends the file."""
    while place < file.size:
        # Few places hold the byte that a frame begins with.
        skipped = file.at(place, min(1024, file.size - place)).find(b"\xff")
        if skipped < 0:
            place += 1024
            continue
        place += skipped
        length, _ = _frame(file.at(place, 4))
        if length and (place + length == file.size or _frame(file.at(place + length, 4))[0]):
            return place
        place += 1
    return None


def _declared_frames(file: _Bytes, place: int) -> int | None:
    """The number of frames that the first one states of the others, if it does.

    It has a checksum too, but programs that cut mp3 files leave that as it was.
    """
    header = file.at(place, 4)
    frame = file.at(place, min(_frame(header)[0], 60))
    if len(frame) < 60:
        return None
    is_mono, is_mpeg1 = header[3] >> 6 == 3, header[1] >> 3 & 3 == 3
    start = 4 + ((17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17))
    if frame[start : start + 4] not in (b"Xing", b"Info") or not frame[start + 7] & 1:
        return None
    return int.from_bytes(frame[start + 8 : start + 12], "big")
