"""Decoded frames become blocks of mono samples."""

from collections.abc import Iterable, Iterator

import av
import numpy as np

from damff_jax.audio.decoder import Silence

# A sample rate, and float32 samples (n,).
_Block = tuple[int, np.ndarray]
# By the sample format's name: NumPy's type, and the value of full scale.
_FORMATS: dict[str, tuple[type[np.generic], int]] = {
    "u8": (np.uint8, 2**7),
    "s16": (np.int16, 2**15),
    "s32": (np.int32, 2**31),
    "s64": (np.int64, 2**63),
    "flt": (np.float32, 1),
    "dbl": (np.float64, 1),
}
# Samples of all channels that are converted together: few enough to stay in the cache.
_CHUNK_SAMPLES = 2**16
# PyAV does not find more planes than these.
_MAX_PLANES = 8


def mono_blocks(frames: Iterable[av.AudioFrame | Silence], seconds: float) -> Iterator[_Block]:
    """Sample rates and float32 samples (n,) of at most so many seconds, channels averaged."""
    mixer: _Mixer | None = None
    for frame in frames:
        if isinstance(frame, Silence):
            if mixer:
                yield from mixer.add_silence(frame.seconds)
            continue
        # Any of it may change from one frame to the next.
        kind = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)
        if not mixer or kind != mixer.kind:
            if mixer:
                yield from mixer.rest()
            mixer = _Mixer(*kind, seconds)
        yield from mixer.add(frame)
    if mixer:
        yield from mixer.rest()


class _Mixer:
    """Averages the channels of frames of one kind; gives blocks with their sample rate."""

    def __init__(self, name: str, channels: int, rate: int, seconds: float):
        self.kind = (name, channels, rate)
        self._channels, self._rate = channels, rate
        self._dtype, self._full_scale = _FORMATS[name.removesuffix("p")]
        self._fifo = av.AudioFifo()
        self._chunk = max(1, _CHUNK_SAMPLES // channels)
        self._block, self._filled = np.empty(max(1, int(seconds * rate)), np.float32), 0
        is_wide = name.endswith("p") and channels > _MAX_PLANES
        self._packer = av.AudioResampler(name.removesuffix("p")) if is_wide else None

    def add(self, frame: av.AudioFrame) -> Iterable[_Block]:
        """Takes a frame; gives the blocks that are full."""
        for part in self._packer.resample(frame) if self._packer else (frame,):
            part.pts = None
            self._fifo.write(part)
        # Frames are many and small: most only wait.
        return self._full() if self._fifo.samples >= self._chunk else ()

    def _full(self) -> Iterator[_Block]:
        while chunk := self._fifo.read(self._chunk):
            yield from self._put(self._mono(chunk))

    def add_silence(self, seconds: float) -> Iterator[_Block]:
        yield from self._drain()
        yield from self._put(np.zeros(round(seconds * self._rate), np.float32))

    def rest(self) -> Iterator[_Block]:
        yield from self._drain()
        if self._filled:
            yield self._rate, self._block[: self._filled]

    def _drain(self) -> Iterator[_Block]:
        while chunk := self._fifo.read(self._chunk, partial=True):
            yield from self._put(self._mono(chunk))

    def _put(self, mono: np.ndarray) -> Iterator[_Block]:
        while len(mono):
            n = min(len(mono), len(self._block) - self._filled)
            self._block[self._filled : self._filled + n] = mono[:n]
            mono, self._filled = mono[n:], self._filled + n
            if self._filled == len(self._block):
                yield self._rate, self._block
                self._block, self._filled = np.empty_like(self._block), 0

    def _mono(self, frame: av.AudioFrame) -> np.ndarray:
        # Values beyond the range of float32 become infinite, which is found later.
        with np.errstate(over="ignore", invalid="ignore"):
            planes = [
                np.frombuffer(memoryview(plane), self._dtype).astype(np.float32, copy=False)
                for plane in frame.planes
            ]
            if self._dtype == np.uint8:
                planes = [plane - np.float32(self._full_scale) for plane in planes]
            if len(planes) == 1:
                planes = list(
                    planes[0][: frame.samples * self._channels].reshape(-1, self._channels).T
                )
            planes = [plane[: frame.samples] for plane in planes]
            if self._channels == 1:
                return planes[0] / np.float32(self._full_scale)
            if self._channels == 2:
                # NumPy's mean over so short an axis takes as long as decoding. Both divisors are
                # powers of two, so dividing once rounds in the same way.
                mono = planes[0] + planes[1]
                mono /= np.float32(2 * self._full_scale)
                return mono
            mean = np.stack(planes, axis=1).mean(axis=1, dtype=np.float32)
            return mean / np.float32(self._full_scale)
