"""The log-Mel spectrogram: one definition for the shards and for prediction.

Values are 10 · log10 of the Mel power in dB against a fixed reference of 1, floored at −100 dB.
Nothing is normalised per song: level carries arousal.
"""

import dataclasses
import functools
import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

SEGMENT_SECONDS = 0.5
POWER_FLOOR = 1e-10
# Changes whenever the same FeatureConfig would give other values.
REVISION = 2
# Frames that are transformed together: few enough to stay in the cache.
_FRAMES_PER_CHUNK = 32
# Mel bins that are computed together, from the FFT bins that they cover.
_MELS_PER_BAND = 16
# Slaney's Mel scale above 1 kHz: log Hz per mel.
_LOG_STEP = np.log(6.4) / 27


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """Settings of the log-Mel spectrogram, named as in librosa.

    The defaults are those assumed for DAMFF: 44.1 kHz, a window of 60 ms, a hop of 10 ms and
    128 Mel bins, so 50 frames per segment of 0.5 s.

    Args:
      sample_rate: Hz; audio is resampled to it.
      n_fft, win_length, hop_length: samples; a periodic Hann window, zero-padded to n_fft.
      n_mels: Mel bins (Slaney's scale and area normalisation, as librosa's default).
      fmin, fmax: Hz; the band that the bins cover. fmax 0 means half the sample rate.

    Raises:
      ValueError: a setting is out of range, or a segment is not a whole number of hops.
    """

    sample_rate: int = 44_100
    n_fft: int = 2646
    win_length: int = 2646
    hop_length: int = 441
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float = 0.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            wanted: type[int] | type[float] = float if field.type is float else int
            if isinstance(value, bool) or not isinstance(value, (int, wanted)):
                article = "an" if wanted is int else "a"
                raise ValueError(
                    f"features.{field.name}: {value!r} is not {article} {wanted.__name__}"
                )
            object.__setattr__(self, field.name, wanted(value))
        if not 8_000 <= self.sample_rate <= 192_000:
            raise ValueError(f"features.sample_rate: {self.sample_rate} is outside 8000-192000")
        if self.n_mels < 1 or self.hop_length < 1:
            raise ValueError("features: n_mels and hop_length must be positive")
        if not 1 <= self.win_length <= self.n_fft or self.n_fft % 2:
            raise ValueError("features: n_fft must be even, and win_length within 1..n_fft")
        if self.n_fft > self.sample_rate:
            raise ValueError("features: n_fft must not exceed one second")
        top = self.fmax or self.sample_rate / 2
        if not 0 <= self.fmin < top <= self.sample_rate / 2:
            raise ValueError("features: 0 <= fmin < fmax <= sample_rate / 2 is required")
        if self.sample_rate % (2 * self.hop_length):
            raise ValueError(
                f"features.hop_length: {self.hop_length} samples do not divide a segment of "
                f"{self.sample_rate / 2:g} samples"
            )

    @property
    def frames_per_segment(self) -> int:
        return self.sample_rate // (2 * self.hop_length)

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits that name these features, values and revision."""
        text = json.dumps({"revision": REVISION, **dataclasses.asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "hash": self.hash}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "FeatureConfig":
        """Reads what `to_json` returned.

        Raises:
          FeatureMismatchError: the hash shows that another revision computed the features.
        """
        values = dict(values)
        stored_hash = values.pop("hash")
        config = cls(**values)
        if config.hash != stored_hash:
            raise FeatureMismatchError(
                f"features {stored_hash} were computed by another revision of damff_jax, "
                f"which computes {config.hash} for {config}"
            )
        return config


class FeatureMismatchError(ValueError):
    """Features of one configuration would be used as those of another."""


def check_same(stored: FeatureConfig, wanted: FeatureConfig, what: str) -> None:
    """Checks that two configurations are the same.

    Raises:
      FeatureMismatchError: naming `what` was stored and showing both configurations.
    """
    if stored.hash != wanted.hash:
        raise FeatureMismatchError(
            f"{what} has features {stored.hash}: {stored}; expected {wanted.hash}: {wanted}"
        )


def log_mel_blocks(blocks: Iterable[np.ndarray], config: FeatureConfig) -> Iterator[np.ndarray]:
    """Log-Mel of a stream of samples, block by block: float32 (n_frames, n_mels) in dB.

    Frame n is centred on sample n · hop_length; beyond both ends the signal is zero. All blocks
    together have the frames of the whole signal, 1 + n_samples // hop_length of them.
    """
    pad = np.zeros(config.n_fft // 2, np.float32)
    rest = pad
    for block in _followed_by(blocks, pad):
        rest = np.concatenate([rest, block])
        n_frames = (len(rest) - config.n_fft) // config.hop_length + 1
        if n_frames > 0:
            yield _log_mel_frames(rest, n_frames, config)
            rest = rest[n_frames * config.hop_length :]


def log_mel(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Log-Mel of a whole signal (n_samples,): float32 (n_frames, n_mels) in dB."""
    frames = list(log_mel_blocks([np.asarray(samples, np.float32)], config))
    return np.concatenate(frames) if frames else np.zeros((0, config.n_mels), np.float32)


def segments(frames: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Cuts frames (n_frames, M) into whole segments: (T, F, M) with T = n_frames // F.

    Segment i spans [0.5 i, 0.5 i + 0.5) s: frame n belongs to segment n // F.
    """
    f = config.frames_per_segment
    t = len(frames) // f
    return frames[: t * f].reshape(t, f, frames.shape[1])


def _log_mel_frames(samples: np.ndarray, n_frames: int, config: FeatureConfig) -> np.ndarray:
    window, mel_bands = _window(config), _mel_bands(config)
    frames = np.lib.stride_tricks.sliding_window_view(samples, config.n_fft)
    frames = frames[:: config.hop_length][:n_frames]
    power = np.empty((n_frames, config.n_mels), np.float32)
    # Chunks share their buffers: allocating memory would cost as much as the transform.
    n_bins = config.n_fft // 2 + 1
    whole_cache_lines = config.n_fft + -config.n_fft % 8
    buffers: tuple[np.ndarray, ...] = (
        np.empty((_FRAMES_PER_CHUNK, whole_cache_lines), np.float64)[:, : config.n_fft],
        np.empty((_FRAMES_PER_CHUNK, n_bins), np.complex128),
        np.empty((_FRAMES_PER_CHUNK, n_bins, 2), np.float32),
        np.empty((_FRAMES_PER_CHUNK, n_bins), np.float32),
    )
    for start in range(0, n_frames, _FRAMES_PER_CHUNK):
        chunk = frames[start : start + _FRAMES_PER_CHUNK]
        windowed, spectrum, squares, bin_power = (buffer[: len(chunk)] for buffer in buffers)
        # In float64, as in librosa: in float32, quiet bins beside a loud one would be lost to
        # rounding.
        windowed[:] = chunk  # separately, because NumPy converts slowly within a product
        windowed *= window
        np.fft.rfft(windowed, out=spectrum)
        squares[:] = spectrum.view(np.float64).reshape(squares.shape)
        squares *= squares
        np.add(squares[..., 0], squares[..., 1], out=bin_power)
        for bins, mels, filters in mel_bands:
            power[start : start + len(chunk), mels] = bin_power[:, bins] @ filters
    np.maximum(power, np.float32(POWER_FLOOR), out=power)
    np.log10(power, out=power)
    power *= 10
    return power


def _followed_by(blocks: Iterable[np.ndarray], last: np.ndarray) -> Iterator[np.ndarray]:
    yield from blocks
    yield last


@functools.lru_cache(maxsize=4)
def _window(config: FeatureConfig) -> np.ndarray:
    n = config.win_length
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    left = (config.n_fft - n) // 2
    return np.pad(hann, (left, config.n_fft - n - left))


@functools.lru_cache(maxsize=4)
def _mel_bands(config: FeatureConfig) -> list[tuple[slice, slice, np.ndarray]]:
    """The Mel filters by band, without most of their zeros: bins, mels, (n_bins, n_mels)."""
    filters = _mel_filters(config)
    bands = []
    for first in range(0, config.n_mels, _MELS_PER_BAND):
        mels = slice(first, first + _MELS_PER_BAND)
        covered = np.flatnonzero(filters[:, mels].any(axis=1))
        bins = slice(covered.min(initial=len(filters)), covered.max(initial=-1) + 1)
        bands.append((bins, mels, filters[bins, mels].copy()))
    return bands


def _mel_filters(config: FeatureConfig) -> np.ndarray:
    """Triangles of equal area, evenly spaced on Slaney's Mel scale: float32 (n_bins, n_mels).

    The same as `librosa.filters.mel`, but librosa takes a second to import.
    """
    band = np.array([config.fmin, config.fmax or config.sample_rate / 2])
    lowest, highest = _hz_to_mel(band)
    edges = _mel_to_hz(np.linspace(lowest, highest, config.n_mels + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    frequencies = np.fft.rfftfreq(config.n_fft, 1 / config.sample_rate)[:, None]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    filters = np.maximum(np.minimum(rising, falling), 0) * 2 / (high - low)
    if not filters.any(axis=0).all():
        warnings.warn(f"some Mel bins cover no frequency of {config}", stacklevel=2)
    return filters.astype(np.float32)


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's scale: linear up to 1 kHz, which is 15 mel, and logarithmic above."""
    return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1000) / 1000) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * _LOG_STEP))
