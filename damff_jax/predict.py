"""Valence and arousal curves of songs: log-Mel → curve, waveform → curve, file → curve.

    python -m damff_jax.predict AUDIO_OR_FOLDER... [--checkpoint=WORKDIR]

writes `<stem>.csv` per file with the header `time_s,valence,arousal`, a row every 0.5 s, the time
being the start of the segment. Exit status: 0 all done, 1 some inputs failed (each named), 2 usage,
143 after SIGTERM, 130 after SIGINT (Ctrl-C).
"""

import argparse
import collections
import errno
import functools
import itertools
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import soxr

from damff_jax import audio, compilation, familiarity, preemption, readers, steps, weights
from damff_jax.checkpoint import CheckpointError, CheckpointWarning
from damff_jax.command_line import printable, show_warnings
from damff_jax.familiarity import Profile
from damff_jax.features import SEGMENT_SECONDS, FeatureConfig, log_mel, segments
from damff_jax.files import write_aside
from damff_jax.inference import Windowing, predict_curves
from damff_jax.models import create_model

# What weights shipped with the package say of themselves, by their name; see the model cards.
_ORIGINS = {
    "damff_plus_deam": "trained on people's ratings of 10 s of each of DEAM's 1,802 songs, free "
    "music of many genres: arousal is to be trusted more than valence",
    "damff_plus_vgmidi": "trained on piano arrangements of game music (VGMIDI): its arousal "
    "carries over to other piano music, its valence hardly, and other instruments it has not heard",
}


class Prediction(NamedTuple):
    """A song's curve and what is known of it.

    Attributes:
      curve_TxV: valence and arousal in [-1, 1], a row per segment of 0.5 s.
      unlikeness: how far the song lies from those that the model was trained on, see
        `damff_jax.familiarity`: beyond 1 it is unlike them. None if the model does not know.
    """

    curve_TxV: np.ndarray
    unlikeness: float | None


class Predictor:
    """A trained model, from log-Mel, samples or files to curves (T, 2): valence, arousal.

    Args:
      checkpoint: the workdir of a training run, of which the best checkpoint is used, a
        safetensors file (see `damff_jax.weights`), or the name of weights shipped with the package;
        by default the first of those.
      batch_size: windows per call of the model.

    Attributes:
      features: what the model hears.
      origin: a line on what it was trained on.
      lag_s: by how much its curves follow the sound, where that was measured (see `damff_jax.lag`);
        else None.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, or it hears no audio.
      FeatureMismatchError, ValueError: it is of another version of this program.
    """

    def __init__(self, checkpoint: str | os.PathLike = weights.DEFAULT, *, batch_size: int = 4):
        variables, meta = weights.load(checkpoint)
        config = meta["config"]
        self.features = FeatureConfig.from_json(meta["features"])
        if meta["identity"].get("heard"):
            raise CheckpointError(
                f"{checkpoint}: a model of another encoder's embeddings, not audio"
            )
        dataset = config["data"]["dataset"]
        self.origin = f"trained on {dataset}"
        if dataset == "synthetic":
            self.origin = "trained on synthetic songs only: not meaningful for real music"
        elif name := weights.shipped_name(checkpoint):
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
            raise ValueError(f"log-Mel of shape (T, {shape[0]}, {shape[1]}) wanted, T > 0")
        return self._one([log_mel_TxFxM])

    def from_waveform(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """The curve (T, 2) of mono samples (n_samples,), floating point in [-1, 1].

        Raises:
          AudioError: they are not, or are shorter than one segment.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise audio.AudioError("samples must be floating point of shape (n_samples,)")
        if not np.all(np.isfinite(samples)):
            raise audio.AudioError("a sample is not finite")
        if len(samples) < SEGMENT_SECONDS * sample_rate:
            raise audio.AudioError(f"samples are shorter than one segment of {SEGMENT_SECONDS} s")
        if sample_rate != self.features.sample_rate:
            samples = soxr.resample(samples, sample_rate, self.features.sample_rate)
        return self.from_log_mel(segments(log_mel(samples, self.features), self.features))

    def from_file(self, path: str | os.PathLike, *, strict: bool = False) -> np.ndarray:
        """The curve (T, 2) of an audio file; memory does not grow with its length.

        Raises:
          AudioError: it cannot be read, or is shorter than one segment.
        """
        (prediction,) = self.predictions([path], strict=strict)
        if isinstance(prediction, audio.AudioError):
            raise prediction
        return prediction.curve_TxV

    def from_files(
        self, paths: Iterable[str | os.PathLike], *, strict: bool = False
    ) -> Iterator[np.ndarray | audio.AudioError]:
        """The curves of files in their order, or the error of a file that cannot be read.

        On several cores other processes read the next files meanwhile, so a few paths are taken
        ahead; memory does not grow with the number of files or their length.
        """
        for prediction in self.predictions(paths, strict=strict):
            yield prediction if isinstance(prediction, audio.AudioError) else prediction.curve_TxV

    def predictions(
        self, paths: Iterable[str | os.PathLike], *, strict: bool = False
    ) -> Iterator[Prediction | audio.AudioError]:
        """As `from_files`, with what is known of every song.

        Of one that is unlike the training songs there is a warning too, an `AudioWarning`.
        """
        paths, named = itertools.tee(paths)
        songs = readers.read_all(paths, self.features, strict=strict)
        # Of the songs that are read and not predicted yet.
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
        """A song's stream, of which the profile tells at its end."""
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
                f"{path}: unlike the songs that the model was trained on ({known:.1f} times as far "
                "from them as they lie); the curve says little"
            )
            warnings.warn(message, audio.AudioWarning, stacklevel=2)

    def _one(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        (curve,) = predict_curves(
            self._apply, [blocks], windowing=self._windowing, batch_size=self._batch_size
        )
        return curve


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("predict", description=__doc__.split("\n\n")[0])
    parser.add_argument("inputs", nargs="+", metavar="AUDIO_OR_FOLDER")
    parser.add_argument(
        "--checkpoint",
        default=weights.DEFAULT,
        metavar="WORKDIR|FILE|NAME",
        help="of a training run, a .safetensors file, or one of the weights shipped with the "
        f"package: {', '.join(weights.shipped())}; default: {weights.DEFAULT.stem}",
    )
    parser.add_argument("--output_dir", default=".", metavar="DIR", help="default: this folder")
    parser.add_argument("--plot", action="store_true", help="write <stem>.png too")
    parser.add_argument("--html", action="store_true", help="write <stem>.html too")
    parser.add_argument("--json", action="store_true", help="write <stem>.json too")
    parser.add_argument("--strict", action="store_true", help="refuse truncated files")
    parser.add_argument("--batch_size", type=int, default=4, help="windows per model call")
    arguments = parser.parse_args(argv)
    if arguments.batch_size < 1:
        parser.error("--batch_size must be positive")
    paths = find_inputs(arguments.inputs)
    if not paths:
        parser.error(f"no audio files ({', '.join(audio.EXTENSIONS)}) in {arguments.inputs}")

    compilation.use_cache()
    show_warnings("predict", audio.AudioWarning, CheckpointWarning)
    warnings.simplefilter("always", audio.AudioWarning)
    n_failed = n_done = 0
    try:
        with preemption.raised():
            try:
                predictor = Predictor(arguments.checkpoint, batch_size=arguments.batch_size)
                _make_folder(arguments.output_dir)
            except (ValueError, OSError) as error:
                parser.exit(2, f"predict: error: {error}\n")
            name = Path(os.path.normpath(arguments.checkpoint)).stem
            print(f"predict: {name}: {predictor.origin}", file=sys.stderr)
            predictions = predictor.predictions(paths, strict=arguments.strict)
            for path, name, prediction in zip(paths, output_names(paths), predictions, strict=True):
                stem = Path(arguments.output_dir) / name
                try:
                    if isinstance(prediction, Exception):
                        raise prediction
                    _write(stem, path, prediction, predictor, arguments)
                except (audio.AudioError, OSError) as error:
                    print(f"predict: error: {printable(str(error))}", file=sys.stderr)
                    n_failed += 1
                    continue
                n_rows = len(prediction.curve_TxV)
                print(f"{printable(path)} -> {printable(name)}.csv: {n_rows} rows", flush=True)
                n_done += 1
    except preemption.Preempted as preempted:
        done = f"{n_done} of {len(paths)} files done"
        print(f"predict: stopped by {preempted}; {done}", file=sys.stderr)
        return preempted.exit_status
    if n_failed:
        print(f"predict: {n_failed} of {len(paths)} files failed", file=sys.stderr)
    return 1 if n_failed else 0


def find_inputs(inputs: Sequence[str]) -> list[str]:
    """Files as given, and the audio files below folders, sorted."""
    paths: list[str] = []
    for path in inputs:
        paths += audio.find(path) if os.path.isdir(path) else [path]
    return list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]


def output_names(paths: Sequence[str]) -> list[str]:
    """A distinct name per file: its stem or, where stems clash, as much of its path as it takes."""
    parts = [(*Path(os.path.abspath(path)).parts[1:-1], Path(path).stem) for path in paths]
    names = [Path(path).stem for path in paths]
    for depth in range(1, max(map(len, parts)) + 2):
        clashing = {name for name in names if names.count(name) > 1}
        if not clashing:
            break
        for i, name in enumerate(names):
            if name in clashing:
                # One folder and one name, twice: only the extensions differ.
                deep_enough = depth >= len(parts[i])
                tail = parts[i][-depth - 1 :]
                extension = Path(paths[i]).suffix if deep_enough else ""
                names[i] = "__".join(tail) + extension
    return names


def _make_folder(path: str) -> None:
    """Makes a folder to write to; what cannot be written is better known before the work.

    Raises:
      OSError: it cannot be written to.
    """
    os.makedirs(path, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _write(
    stem: Path,
    path: str,
    prediction: Prediction,
    predictor: Predictor,
    arguments: argparse.Namespace,
) -> None:
    source, curve_TxV = printable(os.path.basename(path)), prediction.curve_TxV
    times_T = SEGMENT_SECONDS * np.arange(len(curve_TxV))
    with write_aside(f"{stem}.csv") as file:
        file.write("time_s,valence,arousal\n")
        for time, (valence, arousal) in zip(times_T, curve_TxV, strict=True):
            file.write(f"{time:.1f},{valence:.6f},{arousal:.6f}\n")
    if arguments.json:
        with write_aside(f"{stem}.json") as file:
            json.dump(
                {
                    "source": source,
                    "model": predictor.origin,
                    "names": ["valence", "arousal"],
                    "scale": [-1, 1],
                    "hop_s": SEGMENT_SECONDS,
                    "time_origin": "start of the file; a time is the start of its segment",
                    "lag_s": predictor.lag_s,
                    "unlikeness": prediction.unlikeness,
                    "time_s": times_T.tolist(),
                    "values": [[round(float(x), 6) for x in row] for row in curve_TxV],
                },
                file,
            )
    if arguments.plot or arguments.html:
        # Matplotlib takes a second to import.
        from damff_jax import report

        if arguments.plot:
            report.plot_curve(f"{stem}.png", source, times_T, curve_TxV)
        if arguments.html:
            report.write_html(
                f"{stem}.html",
                source,
                times_T,
                curve_TxV,
                notes=_notes(prediction, predictor),
            )


def _notes(prediction: Prediction, predictor: Predictor) -> list[str]:
    """Sentences for the page: on the model, on the curve's time, on the input."""
    notes = [f"The model was {predictor.origin}.", "A time is the start of its segment of 0.5 s."]
    if predictor.lag_s is not None:
        notes.append(f"The curve follows a change in the sound by {predictor.lag_s:.1f} s.")
    if prediction.unlikeness is not None and prediction.unlikeness > 1:
        notes.append("This file is unlike the songs of the training: the curve says little.")
    return notes


if __name__ == "__main__":
    sys.exit(main())
