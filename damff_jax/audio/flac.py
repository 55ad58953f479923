"""What the header of a FLAC stream says of its sound: sample rate and MD5 of all samples."""

import hashlib
from collections.abc import Iterable

import av
import numpy as np

_HEADER_SIZE = 34


class Verifier:
    """Compares the header of a FLAC stream with its decoded sound.

    Args:
      header: the block STREAMINFO; with anything else, nothing is compared.
    """

    def __init__(self, header: bytes | None):
        header = header or b""
        fields = int.from_bytes(header[10:14], "big")
        self._rate, self._n_bits = fields >> 12, (fields >> 4 & 0x1F) + 1
        self._wanted = header[18:] if len(header) == _HEADER_SIZE else b""
        self._digest = hashlib.md5(usedforsecurity=False)
        self._rate_of_frames = 0

    def add(self, packet: av.Packet, frames: Iterable[av.AudioFrame]) -> None:
        """Takes a coded frame and the decoded ones of it."""
        if not self._rate_of_frames and packet.size:
            self._rate_of_frames = _rate_of_frame(packet) or self._rate
        # Encoders that write to a pipe do not know the MD5.
        for frame in frames if any(self._wanted) else ():
            size = frame.format.bytes
            samples = np.frombuffer(memoryview(frame.planes[0]), f"<i{size}")
            samples = samples[: frame.samples * frame.layout.nb_channels]
            if low_bits := 8 * size - self._n_bits:
                samples = samples >> low_bits
            n_bytes = -(-self._n_bits // 8)
            if n_bytes < size:
                samples = samples.view(np.uint8).reshape(-1, size)[:, :n_bytes]
            self._digest.update(np.ascontiguousarray(samples).data)

    def damage(self) -> str:
        """Says what is wrong with a stream that was decoded to its end; '' for nothing."""
        if self._rate_of_frames not in (0, self._rate):
            return f"its header says {self._rate} Hz, its sound {self._rate_of_frames} Hz"
        if any(self._wanted) and self._digest.digest() != self._wanted:
            return "its samples are not those that were encoded (by their MD5)"
        return ""


def _rate_of_frame(packet: av.Packet) -> int:
    """The sample rate that a coded frame states itself, read by a decoder without the header."""
    # Damage is noted when the stream's own decoder meets it.
    with av.logging.Capture():
        try:
            frames = av.AudioCodecContext.create("flac", "r").decode(packet)
        except av.FFmpegError:
            return 0
    return frames[0].sample_rate if frames else 0
