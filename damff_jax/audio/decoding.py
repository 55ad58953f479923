"""Audio files as streams of mono samples: decoding by libsndfile, resampling by soxr."""

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import soundfile
import soxr

from damff_jax.audio import decoder_log, flac, mp3, wav

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 192_000
# Lossy decoders overshoot full scale by a few dB; corrupted frames by far more.
PEAK_LIMIT = 2.0
BLOCK_SECONDS = 10
# Samples of all channels in a block, which bounds what a thousand channels cost.
_BLOCK_SAMPLES = 2**25
_MP3_FRAME_STARTS = {bytes([0xFF, second]) for second in range(0xE0, 0xFF)}


class AudioError(ValueError):
    """An audio file that cannot be used; the message is one line and names the file."""


class AudioWarning(UserWarning):
    """An audio file that is used although something about it is off."""


def find(directory: str | os.PathLike[str]) -> Iterator[str]:
    """Paths of the audio files below a directory, sorted, by their extensions; no hidden files."""
    for root, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith("."):
                yield os.path.join(root, name)


def stream(
    path: str | os.PathLike[str], sample_rate: int, *, strict: bool = False
) -> Iterator[np.ndarray]:
    """Decodes a file block by block: channels averaged to mono, resampled, float32.

    Memory does not grow with the file's length. Reads wav, flac, ogg and mp3 (by content, not by
    name). Samples beyond twice full scale are limited, with a warning.

    Args:
      path: the file.
      sample_rate: of the samples given, in Hz.
      strict: a file that is not decoded to its declared end is an error rather than a warning.

    Raises:
      AudioError: the file is missing, unreadable, not audio, empty, has a sample rate outside
        8-192 kHz or a sample that is not finite.
    """
    with _open(path) as raw, _decoder(raw, path) as file:
        rate = file.samplerate
        if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
            raise AudioError(f"{path}: sample rate of {rate} Hz is outside 8-192 kHz")
        if rate < 16_000:
            _warn(f"{path}: at {rate} Hz there is no content above {rate // 2} Hz")
        blocks = _mono_blocks(raw, file, path, strict)
        if rate != sample_rate:
            blocks = _resample(blocks, rate, sample_rate)
        yield from blocks


def load(path: str | os.PathLike[str], sample_rate: int, *, strict: bool = False) -> np.ndarray:
    """The whole file as `stream` gives it: float32 (n_samples,)."""
    return np.concatenate(list(stream(path, sample_rate, strict=strict)))


def digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, in hexadecimal digits.

    Raises:
      AudioError: the file is missing, unreadable or not a regular one.
    """
    with _open(path) as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


class _SequentialFile(soundfile.SoundFile):
    """Reads from start to end, without the seek to where it is anyway that soundfile adds.

    Every seek costs an mp3 decoder its bit reservoir, and up to a second of sound is lost.
    """

    def seekable(self) -> bool:
        return False


def _open(path: str | os.PathLike[str]) -> io.FileIO:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise AudioError(f"{path}: not a regular file")
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror}") from error


def _decoder(raw: io.FileIO, path: str | os.PathLike[str]) -> soundfile.SoundFile:
    try:
        # A descriptor rather than a name: libsndfile then judges by content, and any name will do.
        with decoder_log.errors_of_mpg123():
            return _SequentialFile(raw.fileno(), closefd=False)
    except (soundfile.SoundFileError, TypeError, ZeroDivisionError) as error:
        if os.fstat(raw.fileno()).st_size == 0:
            raise AudioError(f"{path}: the file is empty") from error
        raise AudioError(f"{path}: not readable as audio (wav, flac, ogg, mp3 are)") from error


def _mono_blocks(
    raw: io.FileIO, file: soundfile.SoundFile, path: str | os.PathLike[str], strict: bool
) -> Iterator[np.ndarray]:
    rate, decoded, limited, failure, errors = file.samplerate, 0, 0, "", []
    verifier = flac.Verifier(raw.fileno()) if file.format == "FLAC" else None
    longest = min(BLOCK_SECONDS * rate, _BLOCK_SAMPLES // file.channels)
    while not failure:
        n_frames = min(longest, max(file.frames - decoded, 1))
        block = np.empty((n_frames, file.channels), np.float32)
        try:
            if file.format == "MP3":
                with decoder_log.errors_of_mpg123() as of_block:
                    block = file.read(out=block)
                errors += of_block[:1]
            else:
                block = file.read(out=block)
        except soundfile.SoundFileError as error:
            # What was decoded before the failure is in the buffer, and is kept.
            block, failure = block[: max(file.tell() - decoded, 0)], f" ({error})"
        if not len(block):
            break
        if verifier:
            verifier.add(block)
        mono = _mono(block)
        finite = np.isfinite(mono)
        if not finite.all():
            first = decoded + int(np.argmin(finite))
            raise AudioError(f"{path}: a sample is not finite, first at {first / rate:.3f} s")
        limited += int(np.count_nonzero(np.abs(mono) > PEAK_LIMIT))
        decoded += len(mono)
        yield np.clip(mono, -PEAK_LIMIT, PEAK_LIMIT)
    if not decoded:
        raise AudioError(f"{path}: no audio in the file{failure}")
    if limited:
        _warn(f"{path}: {limited} samples beyond {PEAK_LIMIT:g} times full scale were limited")
    problem = _incomplete(raw, file, decoded, failure)
    if verifier and not problem:
        problem = verifier.damage()
    if errors and not problem:
        problem = f"damaged frames ({errors[0]})"
    if problem and strict:
        raise AudioError(f"{path}: {problem}")
    if problem:
        _warn(f"{path}: {problem}")


def _mono(block_NxC: np.ndarray) -> np.ndarray:
    if block_NxC.shape[1] == 1:
        return block_NxC[:, 0]
    if block_NxC.shape[1] == 2:
        # NumPy's mean over so short an axis takes as long as decoding.
        return (block_NxC[:, 0] + block_NxC[:, 1]) / np.float32(2)
    return block_NxC.mean(axis=1, dtype=np.float32)


def _incomplete(raw: io.FileIO, file: soundfile.SoundFile, decoded: int, failure: str) -> str:
    """Says what is missing after the last decoded frame, or wrong with the file; '' if nothing."""
    declared, rate = decoder_log.declared_frames(file), file.samplerate
    if not failure and (trouble := decoder_log.trouble_of_ogg(file)):
        declared, failure = None, f" ({trouble})"
    # Containers of lossy formats state their length to within a few coded frames only.
    slack = rate // 10 if file.format in ("MP3", "MPEG", "OGG") else 0
    if failure or (declared is not None and decoded < declared - slack):
        length = "an unknown length" if declared is None else f"{declared / rate:.1f} s"
        return f"{length} declared, {decoded / rate:.1f} s decoded{failure}"
    # Of an mp3 without a true length in its header, libsndfile reads as far as it guesses.
    if file.format == "MP3" and raw.read(2) in _MP3_FRAME_STARTS and len(raw.read(8192)) == 8192:
        return f"audio goes on behind the declared end at {decoded / rate:.1f} s, and is not read"
    if file.format == "MP3":
        return mp3.damage(raw.fileno(), decoded)
    return wav.damage(raw.fileno())


def _resample(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    resampler = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _warn(message: str) -> None:
    warnings.warn(message, AudioWarning, stacklevel=3)
