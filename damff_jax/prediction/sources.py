"""The inputs of a `Predictor`: paths, binary file objects and arrays of samples, as streams."""

import contextlib
import dataclasses
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soxr

from damff_jax import audio
from damff_jax.audio import tags
from damff_jax.audio.tags import Tags
from damff_jax.features import FeatureConfig
from damff_jax.prediction import file_objects, readers
from damff_jax.prediction.samples import mono
from damff_jax.system.places import PlaceError, local

SAMPLES = "<samples>"


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A song to predict; `close` it when its stream has been read.

    Attributes:
      name: for messages and results.
      path: of its file, or of the copy of a file object.
      copy: of a file object.
      samples: instead of a file.
      error: why there is neither.
    """

    name: str
    path: str | None = None
    copy: "tempfile._TemporaryFileWrapper[bytes] | None" = None
    samples: Any = None
    error: audio.AudioError | None = None

    def close(self) -> None:
        if self.copy is not None:
            self.copy.close()

    def renamed(self, message: str) -> str:
        """A message about the song with its own name instead of that of its copy."""
        return message.replace(self.path, self.name) if self.copy and self.path else message

    def tags(self) -> Tags:
        """What the file says that it is."""
        return Tags() if self.path is None else tags.read(self.path)

    def sample_rate(self, of_samples: float | None) -> int | None:
        """The song's own sample rate in Hz; None if it cannot be read.

        Args:
          of_samples: the rate of songs that are samples.
        """
        if self.path is None:
            return round(of_samples) if of_samples else None
        try:
            return audio.sample_rate(self.path)
        except audio.AudioError:
            return None


def is_single(value: Any) -> bool:
    """Whether an input is one song, rather than several."""
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, Iterable):
        return True  # Whatever it is.
    return _is_path(value) or file_objects.is_file_object(value) or hasattr(value, "__array__")


def source_of(value: Any, copies: contextlib.ExitStack) -> Source:
    """The source of an input.

    Args:
      copies: closes the copy of a file object at the latest.

    Raises:
      TypeError: it is no path, no binary file object and no array.
    """
    if _is_path(value):
        path = os.fsdecode(value)
        try:
            return Source(path, local(path))
        except PlaceError as error:
            return Source(path, error=audio.AudioError(str(error)))
    if file_objects.is_file_object(value):
        name = file_objects.name_of(value)
        try:
            copy = file_objects.copied(value)
        except audio.AudioError as error:
            return Source(name, error=error)
        copies.enter_context(copy)
        return Source(name, copy.name, copy)
    if hasattr(value, "__array__"):
        return Source(SAMPLES, samples=value)
    hint = "; wrap a file's content in io.BytesIO" if isinstance(value, (bytes, bytearray)) else ""
    raise TypeError(
        f"{type(value).__name__} is not a path, a binary file object or an array of samples{hint}"
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def streams(
    sources: Iterable[Source],
    config: FeatureConfig,
    *,
    sample_rate: float | None,
    strict: bool,
) -> Iterator[Iterator[np.ndarray]]:
    """The streams of sources in their order; files are read in advance, as by `readers.read_all`.

    Args:
      sample_rate: of the sources that are samples.
    """
    sources, ahead = itertools.tee(sources)
    files = readers.read_all((s.path for s in ahead if s.path is not None), config, strict=strict)
    for source in sources:
        if source.path is not None:
            yield next(files)
        elif source.error is not None:
            yield _failing(source.error)
        else:
            yield of_samples(source.samples, sample_rate, config)


def of_samples(
    samples: Any, sample_rate: float | None, config: FeatureConfig
) -> Iterator[np.ndarray]:
    """The log-Mel segments of samples, see `samples.mono`, as `readers.read` gives a file's.

    Raises:
      AudioError: the samples cannot be audio, or are shorter than one segment.
    """
    mono_N = mono(samples, sample_rate, SAMPLES)
    if sample_rate != config.sample_rate:
        mono_N = soxr.resample(mono_N, sample_rate, config.sample_rate)
    yield from readers.segmented([np.asarray(mono_N, np.float32)], config, name=SAMPLES)


def _failing(error: audio.AudioError) -> Iterator[np.ndarray]:
    yield from ()
    raise error
