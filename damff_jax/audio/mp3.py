"""What the first frame of an mp3 file says of the others: how many there are.

FFmpeg takes a length from it, but none where other things stand behind the sound, and trusts what
it says of the silence around the sound.
"""

import os

import av

# The largest frame, and where in its first one the encoder's words stand, by its kind.
_MAX_FRAME = 1441
_OFFSETS = (13, 21, 36)
# Encoders put up to this many frames of silence before and behind the sound. A header can state
# more, but is more likely to be damaged.
_MAX_PADDING = 4


class FrameCounter:
    """Compares the frames that an mp3 file declares, if it does, with those that are found.

    Args:
      descriptor: of the file, whose position stays.
    """

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._declared: int | None = None
        self._found, self._coded = 0, 0.0

    def add(self, packet: av.Packet) -> None:
        """Takes a frame that could be decoded."""
        if not packet.size:
            return
        if not self._found:
            self._declared = self._declared_before(packet.pos)
            self._seconds = float((packet.duration or 0) * packet.time_base)
        self._found += 1

    def damage(self, decoded: float) -> str:
        """Says what is wrong with a file of which so many seconds were decoded; '' for nothing."""
        # Some programs count the first frame too.
        if self._declared is not None and self._declared not in (self._found, self._found + 1):
            return f"{self._declared} frames declared, {self._found} found"
        coded = (self._found - _MAX_PADDING) * self._seconds
        if decoded < coded:
            return f"{coded:.1f} s in its frames, {decoded:.1f} s decoded"
        return ""

    def _declared_before(self, place: int | None) -> int | None:
        """The number of frames that the one before this place states; None if it states none."""
        start = max(0, (place or 0) - _MAX_FRAME)
        content = os.pread(self._descriptor, (place or 0) - start, start)
        for words in (b"Xing", b"Info"):
            found = content.rfind(words)
            if any(content[max(0, found - n) :][:1] == b"\xff" for n in _OFFSETS if found >= n):
                has_count = content[found + 7 : found + 8] > b"" and content[found + 7] & 1
                return int.from_bytes(content[found + 8 : found + 12], "big") if has_count else None
        return None
