"""Samples that a caller already has: which arrays are audio, and how they become mono."""

from typing import Any

import numpy as np

from damff_jax.audio import AudioError
from damff_jax.audio.decoder import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from damff_jax.audio.decoding import PEAK_LIMIT

# The largest number of channels in an array of two axes; with more, it is rather a batch of songs.
MAX_CHANNELS = 32
# Zero and full scale of integer samples, as in wav files. Wider and other integers do not occur in
# audio, so their scale is unknown.
_INTEGERS = {
    np.dtype(np.uint8): (128, 2**7),
    np.dtype(np.int8): (0, 2**7),
    np.dtype(np.int16): (0, 2**15),
    np.dtype(np.int32): (0, 2**31),
}


def mono(samples: Any, sample_rate: float | None, name: str = "samples") -> np.ndarray:
    """Samples as mono floating point in [-1, 1]; (n_samples,), float32 or float64.

    Args:
      samples: (n_samples,), (n_samples, channels) or (channels, n_samples). Of two axes, the
        shorter one is the channels, and they are averaged. Floating point in [-1, 1], or integers
        of 8, 16 or 32 bits, whose full scale is that of their type; uint8 is centred on 128.
      sample_rate: Hz.
      name: of the samples, for messages.

    Raises:
      AudioError: the samples cannot be audio: no sample rate or one outside 8-192 kHz, another
        shape or type, no sample, a sample that is not finite, or one beyond twice full scale.
    """
    if sample_rate is None:
        raise AudioError(f"{name}: without a sample rate; give sample_rate=")
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{name}: sample rate of {sample_rate:g} Hz is outside 8-192 kHz")
    return _floating(_one_channel_axis(np.asarray(samples), name), name).mean(axis=1)


def _one_channel_axis(array: np.ndarray, name: str) -> np.ndarray:
    """Samples as (n_samples, channels)."""
    if not array.size:
        raise AudioError(f"{name}: empty samples")
    if array.ndim == 1:
        return array[:, None]
    if array.ndim != 2 or array.shape[0] == array.shape[1] or min(array.shape) > MAX_CHANNELS:
        raise AudioError(
            f"{name}: samples of shape {array.shape} are neither mono (n_samples,) nor up to "
            f"{MAX_CHANNELS} channels (n_samples, channels) or (channels, n_samples)"
        )
    return array.T if array.shape[0] < array.shape[1] else array


def _floating(array: np.ndarray, name: str) -> np.ndarray:
    """Samples of any accepted type, with full scale at 1."""
    if array.dtype.newbyteorder("=") in _INTEGERS:
        zero, full_scale = _INTEGERS[array.dtype.newbyteorder("=")]
        return (array.astype(np.float64) - zero) / full_scale
    if not np.issubdtype(array.dtype, np.floating):
        accepted = ", ".join(map(str, _INTEGERS))
        raise AudioError(
            f"{name}: samples of type {array.dtype}; convert them to floating point in [-1, 1], or "
            f"to one of {accepted}"
        )
    if not np.isfinite(array).all():
        raise AudioError(f"{name}: samples must be finite")
    peak = float(np.abs(array).max())
    if peak > PEAK_LIMIT:
        raise AudioError(
            f"{name}: samples reach {peak:g}, but full scale is 1; divide them by theirs"
            + (" (32768, if they were of 16 bits)" if peak > 2**7 else "")
        )
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
