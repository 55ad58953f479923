"""The chunks of a wav file: a damaged header is found where one field belies another.

A decoder believes the first field that it needs, so that a damaged size or rate gives other sound
without a word.
"""

import os
import struct

_PCM, _EXTENSIBLE = 1, 0xFFFE
# Formats whose samples are all of one size: PCM, floats, A-law, µ-law, and what names these anew.
_ONE_SIZE = {_PCM, 3, 6, 7, _EXTENSIBLE}
# Programs that write to a pipe do not know a size yet, and state about 2 or 4 GiB.
_UNKNOWN = 2**31 - 2**16
_PADDING = 2**16


def damage(descriptor: int) -> str:
    """Says what of a wav file's header contradicts the rest of it; '' for nothing.

    Of RF64, W64 and the like nothing is known, and nothing said; nor of a file that is shorter than
    it says, which is a matter of the decoder's.

    Args:
      descriptor: of the file, whose position stays.
    """
    size_of_file = os.fstat(descriptor).st_size
    mark, size, kind = _unpack("<4sI4s", descriptor, 0) or (b"", 0, b"")
    if (mark, kind) != (b"RIFF", b"WAVE"):
        return ""
    is_known = bool(size) and not is_unknown(size) and size + 8 <= size_of_file
    end = size + 8 if is_known else size_of_file
    place, form, bits, n_frames, is_of_one_size = 12, 0, 0, 0, False
    while place < end:
        name, size = _unpack("<4sI", descriptor, place) or (b"", 0)
        if not _is_name(name) or place + 8 > end:
            if _is_padding(descriptor, place, end):
                return ""
            return _contradiction(f"from byte {place} on there is no chunk")
        place += 8
        if place + size > end:
            # What the sound as a whole lacks, the decoder knows; and some programs state a size of
            # the file that leaves out a part of its only or last chunk.
            if place + size == size_of_file or (name == b"data" and not is_known):
                return ""
            return _contradiction(f"chunk {name.decode()!r} of {size} bytes ends behind its file")
        if name == b"fmt " and (fields := _unpack("<HHIIHH", descriptor, place)):
            if problem := _contradiction_of_format(*fields):
                return _contradiction(problem)
            form, channels, _, _, block, bits = fields
            if form == _EXTENSIBLE and (real_form := _unpack("<H", descriptor, place + 24)):
                (form,) = real_form
            is_of_one_size = form in _ONE_SIZE
        elif name == b"PEAK" and form == _PCM and bits in (32, 64):
            return _contradiction("peaks of floats, and samples that are none")
        elif name == b"fact" and (fields := _unpack("<I", descriptor, place)):
            n_frames = fields[0]
        elif name == b"data" and n_frames and is_of_one_size and form != _PCM:
            n_of_data = size // block
            # Some programs count the samples of all channels, or their bytes.
            if n_frames not in (n_of_data, n_of_data * channels, size):
                return _contradiction(f"{n_frames} frames, and {n_of_data} of data")
        place += size
        # Some programs leave out the byte that makes a size even.
        if size % 2 and not _is_name(_name_at(descriptor, place)):
            place += 1
    return ""


def is_unknown(size: int) -> bool:
    """Whether a size is one of those that stand for none."""
    return size % 2**31 >= _UNKNOWN


def _contradiction(what: str) -> str:
    return f"its header contradicts itself: {what}"


def _contradiction_of_format(
    form: int, channels: int, rate: int, bytes_per_s: int, block: int, bits: int
) -> str:
    if form not in _ONE_SIZE:
        return ""
    sizes = {channels * -(-bits // 8)}
    if (form, bits) == (_PCM, 24):
        sizes.add(channels * 4)
    # Nobody needs the bytes per second, and some programs leave them out.
    if block and block in sizes and bytes_per_s in (0, rate * block):
        return ""
    return (
        f"{channels} channels of {bits} bits at {rate} Hz, and {block} bytes per frame, "
        f"{bytes_per_s} per second"
    )


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _name_at(descriptor: int, place: int) -> bytes:
    return os.pread(descriptor, 4, place)


def _is_padding(descriptor: int, place: int, end: int) -> bool:
    """Whether all that is left is zeros, and not much of it."""
    return end - place <= _PADDING and not any(os.pread(descriptor, end - place, place))


def _unpack(form: str, descriptor: int, place: int) -> tuple | None:
    content = os.pread(descriptor, struct.calcsize(form), place)
    return struct.unpack(form, content) if len(content) == struct.calcsize(form) else None
