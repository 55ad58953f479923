"""A trained model as a function from log-Mel, samples or files to curves."""

import collections
import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO, overload

import jax
import numpy as np

from damff_jax import audio, pretrained
from damff_jax.evaluation.inference import predict_curves
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.prediction import sources, trained
from damff_jax.prediction.hearing import Notes, heard
from damff_jax.prediction.sources import Source
from damff_jax.report.curve import Band, Curve, Failure
from damff_jax.training import compilation, steps

# What a Predictor takes as one song; arrays are anything that NumPy can read.
Song = str | os.PathLike | IO[bytes] | np.ndarray


class Predictor:
    """A trained model; `Predictor()("song.m4a")` gives the song's `Curve`.

    The methods from_… give bare arrays (T, 2) of valence and arousal instead.

    Args:
      checkpoint: the workdir of a training run, whose best checkpoint is used; a safetensors file
        (see `damff_jax.weights`); or the name of weights shipped with the package. By default
        `damff_plus_deam`.
      batch_size: windows per call of the model.

    Attributes:
      name: of the weights.
      features: the settings of the model's input.
      origin: one line about how it was trained.
      lag_s: seconds by which its curves lag behind the sound, if measured (see `damff_jax.lag`);
        otherwise None.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, or its model does not take audio.
      FeatureMismatchError, ValueError: another version of this program wrote it.
    """

    def __init__(self, checkpoint: str | os.PathLike = pretrained.DEFAULT, *, batch_size: int = 4):
        loaded = trained.load(checkpoint)
        self.name, self.origin = loaded.name, loaded.origin
        self.features = loaded.features
        self.lag_s = loaded.lag_s
        self._profile, self._errors = loaded.profile, loaded.errors
        self._windowing = loaded.windowing
        self._facts = loaded.facts
        self._batch_size = batch_size
        step = jax.jit(
            functools.partial(steps.eval_step, model=loaded.model),
            compiler_options=compilation.options(jax.default_backend()),
        )
        self._apply = functools.partial(step, jax.device_put(loaded.variables))

    @property
    def has_band(self) -> bool:
        """Whether its curves have a band."""
        return self._errors is not None

    def __repr__(self) -> str:
        return f"<Predictor {self.name}: {self.origin}>"

    def from_log_mel(self, log_mel_TxFxM: np.ndarray) -> np.ndarray:
        """The curve (T, 2) of log-Mel segments in dB, as `damff_jax.features` computes them."""
        shape = (self.features.frames_per_segment, self.features.n_mels)
        if log_mel_TxFxM.ndim != 3 or log_mel_TxFxM.shape[1:] != shape or not len(log_mel_TxFxM):
            raise ValueError(f"expected log-Mel of shape (T, {shape[0]}, {shape[1]}), T > 0")
        return self._one([log_mel_TxFxM])

    def from_waveform(self, samples: np.ndarray, sample_rate: float) -> np.ndarray:
        """The curve (T, 2) of samples, see `damff_jax.prediction.samples`.

        Raises:
          AudioError: the samples cannot be audio, or are shorter than one segment.
        """
        return self._one(sources.of_samples(samples, sample_rate, self.features))

    def from_file(self, path: str | os.PathLike, *, strict: bool = False) -> np.ndarray:
        """The curve (T, 2) of an audio file; memory does not grow with its length.

        Raises:
          AudioError: the file cannot be read, or is shorter than one segment.
        """
        return self(path, strict=strict).values

    def from_files(
        self, paths: Iterable[str | os.PathLike], *, strict: bool = False
    ) -> Iterator[np.ndarray | audio.AudioError]:
        """The curves of files in their order, or the error of a file that cannot be read.

        On several cores, other processes read the next files in the meantime, so a few paths are
        taken in advance. Memory does not grow with the number of files or their length.
        """
        for result in self.curves(paths, strict=strict):
            yield result.values if result.ok else result.error

    def curves(
        self,
        songs: Iterable[Song],
        sample_rate: float | None = None,
        *,
        strict: bool = False,
        listen: Callable[[str, float], None] | None = None,
    ) -> Iterator[Curve | Failure]:
        """The results of songs in their order, read in advance as by `from_files`.

        A song that is unlike the training songs also causes an `AudioWarning`. For the other
        arguments see `__call__`.

        Args:
          listen: is told a song's name, and how many seconds of it have been read so far.
        """
        with contextlib.ExitStack() as copies:
            opened = (sources.source_of(song, copies) for song in songs)
            songs_1, songs_2, songs_3, songs_4 = itertools.tee(opened, 4)
            streams = sources.streams(
                songs_1, self.features, sample_rate=sample_rate, strict=strict
            )
            listened = (
                _told(song.name, stream, listen) if listen else stream
                for song, stream in zip(songs_4, streams, strict=True)
            )
            # Of the songs that have been read but not yet predicted.
            notes: collections.deque[Notes] = collections.deque()
            predictions = predict_curves(
                self._apply,
                (
                    heard(song, stream, self._profile, notes.append)
                    for song, stream in zip(songs_2, listened, strict=True)
                ),
                windowing=self._windowing,
                batch_size=self._batch_size,
                errors=(audio.AudioError,),
            )
            for song, prediction in zip(songs_3, predictions, strict=True):
                with contextlib.closing(song):
                    result = self._result(song, prediction, notes.popleft(), sample_rate)
                yield result

    def _result(
        self,
        song: Source,
        prediction: np.ndarray | audio.AudioError,
        notes: Notes,
        sample_rate: float | None,
    ) -> Curve | Failure:
        if isinstance(prediction, audio.AudioError):
            return Failure(song.name, type(prediction)(song.renamed(str(prediction))))
        valence_T, arousal_T = prediction.T
        band = None
        if self._errors is not None:
            band = Band(self._errors.level, *self._errors.limits(prediction))
        tags = song.tags()
        start, end = self._windowing.less_context
        return Curve(
            source=song.name,
            model=self.origin,
            times=SEGMENT_SECONDS * np.arange(len(prediction)),
            valence=valence_T,
            arousal=arousal_T,
            band=band,
            lag_s=self.lag_s,
            unlikeness=notes.unlikeness,
            remarks=notes.remarks,
            sample_rate=song.sample_rate(sample_rate),
            name=tags.title,
            artist=tags.artist,
            context_s=(SEGMENT_SECONDS * start, SEGMENT_SECONDS * end),
            weights=self._facts,
            picture=notes.picture,
        )

    @overload
    def __call__(
        self, song: Song, sample_rate: float | None = None, *, strict: bool = False
    ) -> Curve: ...

    @overload
    def __call__(
        self,
        song: list[Song] | tuple[Song, ...] | Iterator[Song],
        sample_rate: float | None = None,
        *,
        strict: bool = False,
    ) -> list[Curve | Failure]: ...

    def __call__(self, song, sample_rate=None, *, strict=False):
        """The result for a song or, for several, the list of their results.

        Args:
          song: the path of an audio file, a binary file object, or an array of samples (see
            `damff_jax.prediction.samples`); or a list of them.
          sample_rate: of the samples in Hz; a file has its own.
          strict: a file that is not decoded to its declared end is an error instead of a remark.

        Returns:
          A `Curve`. In a list, a song that cannot be used has a `Failure` in its place: `ok` tells
          them apart.

        Raises:
          AudioError: a single song cannot be read, is shorter than one segment, or its samples
            cannot be audio.
          TypeError: the input is none of these.
        """
        single = sources.is_single(song)
        results = list(self.curves([song] if single else song, sample_rate, strict=strict))
        if not single:
            return results
        (result,) = results
        if isinstance(result, Failure):
            raise result.error
        return result

    def _one(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        (curve,) = predict_curves(
            self._apply, [blocks], windowing=self._windowing, batch_size=self._batch_size
        )
        return curve


def _told(
    name: str, blocks: Iterable[np.ndarray], listen: Callable[[str, float], None]
) -> Iterator[np.ndarray]:
    n_segments = 0
    for block in blocks:
        n_segments += len(block)
        listen(name, SEGMENT_SECONDS * n_segments)
        yield block
