"""The index of an MP4 file, for which FFmpeg allocates as much memory as it says it is long."""

import mmap
import os
import struct

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")
_MAX_BOXES = 10_000
# Samples that a file may count in any case, such as one that is cut off; they take 100 MB.
_HARMLESS_COUNT = 2**22


def counts_too_much(descriptor: int) -> bool:
    """Whether an index counts samples that do not fit into its file, whose position is kept."""
    if os.pread(descriptor, 8, 0)[4:] not in _FIRST_BOXES:
        return False
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
        place = 0
        for _ in range(_MAX_BOXES):
            if place + 16 > len(content):
                break
            size, name, long_size = struct.unpack_from(">I4sQ", content, place)
            size = {0: len(content) - place, 1: long_size}.get(size, size)
            if name == b"moov" and _sizes_exceed(content, place, place + size):
                return True
            place += max(size, 8)
    return False


def _sizes_exceed(content: mmap.mmap, start: int, end: int) -> bool:
    while (start := content.find(b"stsz", start, end)) >= 0:
        fields = content[start + 8 : start + 16]
        size, count = struct.unpack(">II", fields.ljust(8, b"\0"))
        # Where they are not all of one size, there are four bytes of the index for each.
        if count > _HARMLESS_COUNT and count * (size or 4) > len(content):
            return True
        start += 4
    return False
