"""What a flac file says of its own sound: how it begins, how long it is, and the MD5 of all of it.

A decoder takes rate and length from the file's header and trusts them, so that a damaged header
gives other sound without a word.
"""

import hashlib
import os

import numpy as np

from damff_jax.audio import id3

_SIZE = 4 + 4 + 34  # The mark, and the header's first block, which is this long in every file.
_LAST = 0x80
_SYNC = 0xFFF8
# By the code in a frame's header; others stand for the file's header, or for rarer rates.
_RATES = {
    **{1: 88_200, 2: 176_400, 3: 192_000, 4: 8_000, 5: 16_000, 6: 22_050},
    **{7: 24_000, 8: 32_000, 9: 44_100, 10: 48_000, 11: 96_000},
}
# More do not come through float32 unchanged.
_MAX_BITS = 24


class Verifier:
    """Compares a file's header with the sound that came out of it.

    Args:
      descriptor: of the file, whose position stays.
    """

    def __init__(self, descriptor: int):
        start = _end_of_tags(descriptor)
        header = os.pread(descriptor, _SIZE, start)
        fields = int.from_bytes(header[18:26], "big")
        self._rate, self._bits = fields >> 44, (fields >> 36 & 0x1F) + 1
        self._wanted = header[26:42] if len(header) == _SIZE else b""
        self._digest = hashlib.md5(usedforsecurity=False)
        frame = os.pread(descriptor, 4, _first_frame(descriptor, start + 4))
        is_frame = len(frame) == 4 and int.from_bytes(frame[:2], "big") & ~1 == _SYNC
        self._rate_of_frame = _RATES.get(frame[2] & 0xF) if is_frame else None

    def add(self, block_NxC: np.ndarray) -> None:
        """Takes decoded samples, float32 with full scale at 1."""
        if self._bits > _MAX_BITS or not any(self._wanted):
            return
        n_bytes = -(-self._bits // 8)
        # Whole numbers, exactly.
        samples_NxC = block_NxC * np.float32(2 ** (self._bits - 1))
        if n_bytes == 3:
            digits = samples_NxC.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]
            self._digest.update(np.ascontiguousarray(digits).data)
        else:
            self._digest.update(samples_NxC.astype(f"<i{n_bytes}").data)

    def damage(self) -> str:
        """Says what is wrong with a file that was decoded to its end; '' for nothing."""
        if self._rate_of_frame not in (None, self._rate):
            return f"its header says {self._rate} Hz, its sound {self._rate_of_frame} Hz"
        if self._bits > _MAX_BITS or not any(self._wanted):
            return ""  # Encoders that write to a pipe do not know the MD5.
        if self._digest.digest() != self._wanted:
            return "its samples are not those that were encoded (by their MD5)"
        return ""


def _end_of_tags(descriptor: int) -> int:
    """Where the file begins behind ID3 tags, which do not belong there and are met."""
    place = 0
    while tag := id3.length(os.pread(descriptor, 10, place)):
        place += tag
    return place


def _first_frame(descriptor: int, place: int) -> int:
    """Where sound begins behind the header's blocks, each of which states its length."""
    last = False
    while not last:
        block = os.pread(descriptor, 4, place)
        if len(block) < 4:
            break
        last = bool(block[0] & _LAST)
        place += 4 + int.from_bytes(block[1:], "big")
    return place
