"""A trained model as a function from log-Mel, samples or files to curves."""

import collections
import functools
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
import soxr

from damff_jax import audio, pretrained, weights
from damff_jax.evaluation import familiarity
from damff_jax.evaluation.familiarity import Profile
from damff_jax.evaluation.inference import Windowing, predict_curves
from damff_jax.features import SEGMENT_SECONDS, FeatureConfig, log_mel, segments
from damff_jax.models import create_model
from damff_jax.prediction import readers
from damff_jax.run.checkpoint import CheckpointError
from damff_jax.training import compilation, steps

# How the weights shipped with the package were trained, by their name; see the model cards.
_ORIGINS = {
    "damff_plus_deam": "trained on listeners' ratings of 10 s of each of DEAM's 1,802 songs, free "
    "music of many genres: arousal is more reliable than valence",
    "damff_plus_vgmidi": "trained on piano arrangements of game music (VGMIDI): arousal carries "
    "over to other piano music, valence hardly; not trained on other instruments",
}


class Prediction(NamedTuple):
    """A song's curve, and how similar the song is to the training songs.

    Attributes:
      curve_TxV: valence and arousal in [-1, 1], a row per segment of 0.5 s.
      unlikeness: how far the song is from those that the model was trained on, see
        `damff_jax.evaluation.familiarity`: above 1 it is unlike them. None if the weights have no
        profile of the training songs.
    """

    curve_TxV: np.ndarray
    unlikeness: float | None


class Predictor:
    """A trained model, from log-Mel, samples or files to curves (T, 2): valence, arousal.

    Args:
      checkpoint: the workdir of a training run, whose best checkpoint is used; a safetensors file
        (see `damff_jax.weights`); or the name of weights shipped with the package. By default
        `damff_plus_deam`.
      batch_size: windows per call of the model.

    Attributes:
      features: the settings of the model's input.
      origin: one line about how it was trained.
      lag_s: seconds by which its curves lag behind the sound, if measured (see `damff_jax.lag`);
        otherwise None.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, or its model does not take audio.
      FeatureMismatchError, ValueError: another version of this program wrote it.
    """

    def __init__(self, checkpoint: str | os.PathLike = pretrained.DEFAULT, *, batch_size: int = 4):
        variables, meta = weights.load(checkpoint)
        config = meta["config"]
        self.features = FeatureConfig.from_json(meta["features"])
        if meta["identity"].get("heard"):
            raise CheckpointError(
                f"{checkpoint}: the model takes another encoder's embeddings, not audio"
            )
        dataset = config["data"]["dataset"]
        self.origin = f"trained on {dataset}"
        if dataset == "synthetic":
            self.origin = "trained on synthetic songs only: not meaningful for real music"
        elif name := pretrained.shipped_name(checkpoint):
            self.origin = _ORIGINS[name]
        self.lag_s: float | None = meta.get("lag_s")
        profile = variables.pop(weights.PROFILE, None)
        self._profile = Profile.from_arrays(profile) if profile else None
        self._windowing = Windowing.of(config)
        self._batch_size = batch_size
        model = create_model(config["model"], dtype=config["dtype"], axis_name=None)
        step = jax.jit(
            functools.partial(steps.eval_step, model=model),
            compiler_options=compilation.options(jax.default_backend()),
        )
        self._apply = functools.partial(step, jax.device_put(variables))

    def from_log_mel(self, log_mel_TxFxM: np.ndarray) -> np.ndarray:
        """The curve (T, 2) of log-Mel segments in dB, as `damff_jax.features` computes them."""
        shape = (self.features.frames_per_segment, self.features.n_mels)
        if log_mel_TxFxM.ndim != 3 or log_mel_TxFxM.shape[1:] != shape or not len(log_mel_TxFxM):
            raise ValueError(f"expected log-Mel of shape (T, {shape[0]}, {shape[1]}), T > 0")
        return self._one([log_mel_TxFxM])

    def from_waveform(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """The curve (T, 2) of mono samples (n_samples,), floating point in [-1, 1].

        Raises:
          AudioError: other samples, or fewer than one segment.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise audio.AudioError("samples must be floating point of shape (n_samples,)")
        if not np.all(np.isfinite(samples)):
            raise audio.AudioError("samples must be finite")
        if len(samples) < SEGMENT_SECONDS * sample_rate:
            raise audio.AudioError(f"samples are shorter than one segment of {SEGMENT_SECONDS} s")
        if sample_rate != self.features.sample_rate:
            samples = soxr.resample(samples, sample_rate, self.features.sample_rate)
        return self.from_log_mel(segments(log_mel(samples, self.features), self.features))

    def from_file(self, path: str | os.PathLike, *, strict: bool = False) -> np.ndarray:
        """The curve (T, 2) of an audio file; memory does not grow with its length.

        Raises:
          AudioError: the file cannot be read, or is shorter than one segment.
        """
        (prediction,) = self.predictions([path], strict=strict)
        if isinstance(prediction, audio.AudioError):
            raise prediction
        return prediction.curve_TxV

    def from_files(
        self, paths: Iterable[str | os.PathLike], *, strict: bool = False
    ) -> Iterator[np.ndarray | audio.AudioError]:
        """The curves of files in their order, or the error of a file that cannot be read.

        On several cores, other processes read the next files in the meantime, so a few paths are
        taken in advance. Memory does not grow with the number of files or their length.
        """
        for prediction in self.predictions(paths, strict=strict):
            yield prediction if isinstance(prediction, audio.AudioError) else prediction.curve_TxV

    def predictions(
        self, paths: Iterable[str | os.PathLike], *, strict: bool = False
    ) -> Iterator[Prediction | audio.AudioError]:
        """Like `from_files`, with every song's unlikeness.

        A song that is unlike the training songs also causes an `AudioWarning`.
        """
        paths, named = itertools.tee(paths)
        songs = readers.read_all(paths, self.features, strict=strict)
        # Of the songs that have been read but not yet predicted.
        unlikeness: collections.deque[float | None] = collections.deque()
        curves = predict_curves(
            self._apply,
            (self._heard(path, song, unlikeness) for path, song in zip(named, songs, strict=True)),
            windowing=self._windowing,
            batch_size=self._batch_size,
            errors=(audio.AudioError,),
        )
        for curve in curves:
            known = unlikeness.popleft()
            yield curve if isinstance(curve, audio.AudioError) else Prediction(curve, known)

    def _heard(
        self,
        path: str | os.PathLike,
        blocks: Iterable[np.ndarray],
        unlikeness: collections.deque[float | None],
    ) -> Iterator[np.ndarray]:
        """A song's stream; appends its unlikeness at the end, and warns if it is large."""
        known = None
        try:
            if self._profile is None:
                yield from blocks
            else:
                listener = familiarity.Listener()
                yield from listener.hear(blocks)
                known = self._profile.unlikeness(listener.statistics())
        finally:
            unlikeness.append(known)
        if known is not None and known > 1:
            message = (
                f"{path}: unlike the training songs (unlikeness {known:.1f}, where 1 is the "
                "limit); the curve is not reliable"
            )
            warnings.warn(message, audio.AudioWarning, stacklevel=2)

    def _one(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        (curve,) = predict_curves(
            self._apply, [blocks], windowing=self._windowing, batch_size=self._batch_size
        )
        return curve
