"""The header of a wav file: how much sound it declares, and whether one field belies another.

FFmpeg believes the first field that it needs, so that a damaged size or rate would give other sound
without a word.
"""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

_PCM, _EXTENSIBLE = 1, 0xFFFE
# Formats whose samples are all of one size: PCM, floats, A-law and µ-law.
_ONE_SIZE = (_PCM, 3, 6, 7)
# Programs that write to a pipe do not know a size yet, and state about 2 or 4 GiB.
_UNKNOWN = 2**31 - 2**16
_PADDING = 2**16
_MAX_CHUNKS = 1000


class Header(NamedTuple):
    """What a wav file says of itself.

    Attributes:
      seconds: of sound that it declares; None if it does not.
      unfinished: whether whoever wrote it did not come to state a size.
      contradiction: what of it cannot be; '' for nothing.
    """

    seconds: float | None = None
    unfinished: bool = False
    contradiction: str = ""


class _Format(NamedTuple):
    form: int
    channels: int
    rate: int
    bytes_per_s: int
    block: int
    bits: int

    def contradiction(self, size: int) -> str:
        """What of the fields cannot be, in a chunk of so many bytes; '' for nothing."""
        wrong = (
            f"format {self.form} of {self.channels} channels of {self.bits} bits at {self.rate} "
            f"Hz, and {self.block} bytes per frame, {self.bytes_per_s} per second"
        )
        if self.form not in _ONE_SIZE:
            return "" if size > 16 else wrong  # Of other formats there is more to be said.
        sizes = [self.channels * -(-self.bits // 8)]
        if (self.form, self.bits) == (_PCM, 24):
            sizes.append(self.channels * 4)
        # Nobody needs the bytes per second, and some programs leave them out.
        is_sound = self.block in sizes and self.bytes_per_s in (0, self.rate * self.block)
        return "" if self.block and is_sound else wrong


def read_header(descriptor: int) -> Header:
    """Reads the header of a file, whose position stays; one that is no RIFF file says nothing."""
    size_of_file = os.fstat(descriptor).st_size
    mark, size, kind = _unpack("<4sI4s", descriptor, 0)
    if (mark, kind) != (b"RIFF", b"WAVE"):
        return Header()
    is_known = size > 0 and not _is_unknown(size) and size + 8 <= size_of_file
    end = size + 8 if is_known else size_of_file
    sound, n_frames, seconds = None, 0, None
    for name, place, size in _chunks(descriptor, end):
        if not name:
            return Header(seconds, contradiction=f"from byte {place} on there is no chunk")
        if name == b"fmt ":
            sound = _Format(*_unpack("<HHIIHH", descriptor, place))
            if sound.form == _EXTENSIBLE:
                sound = sound._replace(form=_unpack("<H", descriptor, place + 24)[0])
            if problem := sound.contradiction(size):
                return Header(contradiction=problem)
        elif name == b"fact":
            (n_frames,) = _unpack("<I", descriptor, place)
        elif name == b"PEAK" and sound and sound.form == _PCM:
            return Header(contradiction="peaks of floats, and samples that are none")
        elif name == b"data" and sound:
            if (not size and end != place) or (_is_unknown(size) and not is_known):
                return Header(unfinished=not size)
            seconds = None if _is_unknown(size) else _seconds(sound, size)
            if problem := _contradiction_of_count(sound, n_frames, size):
                return Header(seconds, contradiction=problem)
        # Sound that is missing is found by the declared length, where there is one; and some
        # programs state a size of the file that leaves out a part of its only or last chunk.
        is_sound = name == b"data" and not is_known and seconds is not None
        if place + size > end and not is_sound and place + size != size_of_file:
            what = f"chunk {name.decode()!r} of {size} bytes ends behind its file"
            return Header(seconds, contradiction=what)
    return Header(seconds)


def _chunks(descriptor: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Every chunk's name, place of content and size; no name where there should be one."""
    place = 12
    for _ in range(_MAX_CHUNKS):
        if place >= end:
            return
        name, size = _unpack("<4sI", descriptor, place)
        if place + 8 > end or not _is_name(name):
            padding = os.pread(descriptor, min(end - place, _PADDING + 1), place)
            if any(padding) or len(padding) > _PADDING:
                yield b"", place, 0
            return
        yield name, place + 8, size
        place += 8 + size
        # Some programs leave out the byte that makes a size even.
        if size % 2 and not _is_name(os.pread(descriptor, 4, place)):
            place += 1


def _seconds(sound: _Format, size: int) -> float | None:
    """None for coded sound: some programs get its bytes per second wrong."""
    return size // sound.block / max(sound.rate, 1) if sound.form in _ONE_SIZE else None


def _contradiction_of_count(sound: _Format, n_frames: int, size: int) -> str:
    if sound.form not in _ONE_SIZE[1:] or not n_frames:
        return ""
    n_of_data = size // sound.block
    # Some programs count the samples of all channels, or their bytes.
    if n_frames in (n_of_data, n_of_data * sound.channels, size):
        return ""
    return f"{n_frames} frames, and {n_of_data} of data"


def _is_unknown(size: int) -> bool:
    return size % 2**31 >= _UNKNOWN


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _unpack(form: str, descriptor: int, place: int) -> tuple:
    """Fields of a file; behind its end there are zeros."""
    size = struct.calcsize(form)
    return struct.unpack(form, os.pread(descriptor, size, place).ljust(size, b"\0"))
