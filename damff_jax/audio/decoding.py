"""Audio files as streams of mono samples: decoding by FFmpeg, resampling by soxr."""

import os
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from damff_jax.audio.decoder import Decoder
from damff_jax.audio.errors import AudioError, AudioWarning
from damff_jax.audio.files import open_regular
from damff_jax.audio.mono import mono_blocks

# Lossy decoders overshoot full scale by a few dB; corrupted frames by far more.
PEAK_LIMIT = 2.0
BLOCK_SECONDS = 10


def stream(
    path: str | os.PathLike[str], sample_rate: int, *, strict: bool = False
) -> Iterator[np.ndarray]:
    """Decodes a file block by block: channels averaged to mono, resampled, float32.

    Memory does not grow with the file's length. Reads what FFmpeg reads (by content, not by name):
    wav, flac, ogg, mp3, m4a, opus, wma, aiff and more; of a video its sound. Samples beyond twice
    full scale are limited, with a warning.

    Args:
      path: the file.
      sample_rate: of the samples given, in Hz.
      strict: a file that is damaged or not decoded to its declared end is an error rather than a
        warning.

    Raises:
      AudioError: the file is missing, unreadable, not audio, empty, has a sample rate outside
        8-192 kHz or a sample that is not finite.
    """
    with open_regular(path) as raw, Decoder(raw, path) as decoder:
        yield from _resampled(_checked(decoder, path), sample_rate)
        if problem := decoder.problem():
            if strict:
                raise AudioError(f"{path}: {problem}")
            _warn(f"{path}: {problem}")


def load(path: str | os.PathLike[str], sample_rate: int, *, strict: bool = False) -> np.ndarray:
    """The whole file as `stream` gives it: float32 (n_samples,)."""
    return np.concatenate(list(stream(path, sample_rate, strict=strict)))


def sample_rate(path: str | os.PathLike[str]) -> int:
    """A file's own sample rate in Hz.

    Raises:
      AudioError: the file is missing, unreadable or not audio.
    """
    with open_regular(path) as raw, Decoder(raw, path) as decoder:
        return decoder.sample_rate


def declared_seconds(path: str | os.PathLike[str]) -> float | None:
    """The length that a file declares, in seconds; None if there is none, or it cannot be read."""
    try:
        with open_regular(path) as raw, Decoder(raw, path) as decoder:
            return decoder.declared_seconds
    except AudioError:
        return None


def _checked(decoder: Decoder, path: str | os.PathLike[str]) -> Iterator[tuple[int, np.ndarray]]:
    """Sample rates and samples that are finite and within limits."""
    last_rate, seconds, limited = None, 0.0, 0
    for rate, mono in mono_blocks(decoder.frames(), BLOCK_SECONDS):
        if rate != last_rate and last_rate:
            _warn(f"{path}: the sample rate changes to {rate} Hz at {seconds:.1f} s")
        if rate != last_rate and rate < 16_000:
            _warn(f"{path}: at {rate} Hz there is no content above {rate // 2} Hz")
        # Two passes that need no memory: nothing is off in most blocks.
        if not -PEAK_LIMIT <= mono.min() <= mono.max() <= PEAK_LIMIT:
            finite = np.isfinite(mono)
            if not finite.all():
                first = seconds + int(np.argmin(finite)) / rate
                raise AudioError(f"{path}: a sample is not finite, first at {first:.3f} s")
            limited += int(np.count_nonzero(np.abs(mono) > PEAK_LIMIT))
            mono = np.clip(mono, -PEAK_LIMIT, PEAK_LIMIT)
        last_rate, seconds = rate, seconds + len(mono) / rate
        yield rate, mono
    if limited:
        _warn(f"{path}: {limited} samples beyond {PEAK_LIMIT:g} times full scale were limited")


def _resampled(blocks: Iterable[tuple[int, np.ndarray]], new_rate: int) -> Iterator[np.ndarray]:
    resampler, last_rate = None, new_rate
    for rate, block in blocks:
        if rate != last_rate:
            yield from _rest(resampler)
            resampler, last_rate = None, rate
            if rate != new_rate:
                resampler = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", quality="HQ")
        yield resampler.resample_chunk(block) if resampler else block
    yield from _rest(resampler)


def _rest(resampler: soxr.ResampleStream | None) -> Iterator[np.ndarray]:
    if resampler:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _warn(message: str) -> None:
    warnings.warn(message, AudioWarning, stacklevel=3)
