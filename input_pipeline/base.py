"""The builder that all data sets share: a corpus of songs in, TFRecord shards of log-Mel out."""

import abc
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tqdm import tqdm

from damff_jax.features import FeatureConfig
from input_pipeline.corpus import Corpus, CorpusError, Song, refuse_missing_audio
from input_pipeline.feature_cache import CACHE_FOLDER, FeatureCache
from input_pipeline.shards import Account, ShardWriter


@dataclasses.dataclass(frozen=True)
class Options:
    """A data set's own knobs; a builder's subclass of it becomes the command line's flags."""


@dataclasses.dataclass(eq=False)
class SongConfig(tfds.core.BuilderConfig):
    """Names a version of a data set by its options and features.

    The name holds the features' hash and the options, so shards of other features or splits are
    never taken for these.
    """

    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    options: Options = dataclasses.field(default_factory=Options)


class SongBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the data sets.

    An example is a song over the span of its labels, T segments long:

        song_id   text
        log_mel   float16 (T, frames per segment, Mel bins), dB
        labels    float32 (T, 2), valence and arousal in [-1, 1]
        mask      bool (T, 2), false where a label is missing
        times     float32 (T,), the segments' starts in seconds

    `info.metadata` holds the features, the options, the training split's mean and standard
    deviation of every Mel bin, the report of the build, and the shards' digests.

    Subclasses give `OPTIONS` (a dataclass) and `corpus`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First."}
    OPTIONS: ClassVar[type[Options]] = Options

    # Set by whoever builds: worker processes (None: none), whether missing audio is an error, and
    # whether progress is shown.
    executor: Executor | None = None
    require_all: bool = False
    progress: bool = False

    # Below the user's folder: files whose content decides about labels and splits. Of all others,
    # names and sizes are enough to tell whether the shards are outdated.
    LABEL_FILES: ClassVar[tuple[str, ...]] = ("*.csv", "*.json", "*.txt")

    @classmethod
    def config(
        cls, features: FeatureConfig | None = None, options: Options | None = None
    ) -> SongConfig:
        """The builder config of these features and options."""
        features, options = features or FeatureConfig(), options or cls.OPTIONS()
        values = dataclasses.asdict(options)
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        return SongConfig(
            name=f"{cls.label(options)}-{digest}-{features.hash}",
            description=f"{values or 'no options'}; {features}",
            features=features,
            options=options,
        )

    @classmethod
    def label(cls, options: Options) -> str:
        """A readable word for the options, the first part of the config's name."""
        del options
        return "songs"

    @abc.abstractmethod
    def corpus(self, manual_dir: Path | None) -> Corpus:
        """Finds the songs.

        Raises:
          CorpusError, LabelError: the directory does not hold the data set.
        """

    def __init__(self, *, config: SongConfig | None = None, **kwargs: Any):
        super().__init__(config=config or self.config(), **kwargs)

    @property
    def features(self) -> FeatureConfig:
        return self.builder_config.features

    @property
    def options(self) -> Options:
        return self.builder_config.options

    def _info(self) -> tfds.core.DatasetInfo:
        f, m = self.features.frames_per_segment, self.features.n_mels
        raw = tfds.features.Encoding.BYTES
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "song_id": tfds.features.Text(),
                    "log_mel": tfds.features.Tensor(
                        shape=(None, f, m), dtype=np.float16, encoding=raw
                    ),
                    "labels": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
                    "mask": tfds.features.Tensor(shape=(None, 2), dtype=np.bool_),
                    "times": tfds.features.Tensor(shape=(None,), dtype=np.float32),
                }
            ),
            metadata=Account(
                features=self.features.to_json(), options=dataclasses.asdict(self.options)
            ),
        )

    def _example_writer(self) -> ShardWriter:
        return ShardWriter(self.info.file_format, self.info.metadata)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        self._report: dict[str, Any] = {"left_out": {}, "notes": {}, "splits": {}}
        self._moments: dict[str, MelMoments] = {}
        self.info.metadata.pop("shards", None)  # Of the outdated data set.
        manual_dir = Path(dl_manager.manual_dir) if self.MANUAL_DOWNLOAD_INSTRUCTIONS else None
        corpus = self.corpus(manual_dir)
        if self.require_all:
            refuse_missing_audio(corpus.left_out)
        self._report["left_out"] |= corpus.left_out
        self._report["notes"] |= corpus.notes
        return {split: self._generate_examples(split, s) for split, s in corpus.songs.items()}

    def _generate_examples(
        self, split: str, songs: list[Song]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        moments = self._moments[split] = MelMoments(self.features.n_mels)
        counts = {"n_songs": 0, "n_segments": 0, "n_labels": 0}
        # <data_dir>/<data set>/<config>/<version>; all data sets share the cache.
        cache = FeatureCache(Path(self.data_dir).parents[2] / CACHE_FOLDER)
        extracted = cache.extract_all(songs, self.features, self.executor)
        started = time.monotonic()
        bar = tqdm(extracted, split, len(songs), unit="song", disable=not self.progress)
        for song, features in bar:
            log_mel_TxFxM = features.log_mel_TxFxM
            labels = song.labels.head(len(log_mel_TxFxM))
            self._remark(song, features.n_missing, len(labels), features.warnings)
            if not len(labels):
                continue
            moments.add(log_mel_TxFxM)
            counts["n_songs"] += 1
            counts["n_segments"] += len(labels)
            counts["n_labels"] += int(labels.mask_TxV.sum())
            times = 0.5 * (labels.first_segment + np.arange(len(labels), dtype=np.float32))
            yield (
                song.song_id,
                {
                    "song_id": song.song_id,
                    "log_mel": log_mel_TxFxM,
                    "labels": labels.values_TxV,
                    "mask": labels.mask_TxV,
                    "times": times.astype(np.float32),
                },
            )
        if not counts["n_songs"]:
            raise CorpusError(f"no song of the {split} split has a labelled segment with audio")
        counts["seconds"] = round(time.monotonic() - started, 3)
        self._report["splits"][split] = counts
        # Written with the data set's info once all splits are done.
        self.info.metadata.update(report=self._report, mel=self._mel_statistics())

    def _remark(self, song: Song, n_missing: int, n_kept: int, warnings: list[str]) -> None:
        def note(kind: str, reason: str, text: str) -> None:
            self._report[kind].setdefault(reason, []).append(text)

        if not n_kept:
            note("left_out", "no labelled segment within the audio", song.song_id)
        elif n_missing:
            note("notes", "labels past the end of the audio, cut off", song.song_id)
        for warning in warnings:
            note("notes", "decoder's warnings", warning)

    def _mel_statistics(self) -> dict[str, Any]:
        split = "train" if "train" in self._moments else next(iter(self._moments))
        mean_M, std_M = self._moments[split].mean_and_std()
        return {"split": split, "mean": mean_M.tolist(), "std": std_M.tolist()}


class MelMoments:
    """Mean and standard deviation of every Mel bin over many songs, in float64."""

    def __init__(self, n_mels: int):
        self._n = 0
        self._sum_M = np.zeros(n_mels)
        self._sum_of_squares_M = np.zeros(n_mels)

    def add(self, log_mel_TxFxM: np.ndarray) -> None:
        frames = log_mel_TxFxM.reshape(-1, log_mel_TxFxM.shape[-1]).astype(np.float64)
        self._n += len(frames)
        self._sum_M += frames.sum(axis=0)
        self._sum_of_squares_M += np.square(frames).sum(axis=0)

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Both (M,), in dB; a bin that never moves gets the standard deviation 1."""
        mean_M = self._sum_M / self._n
        var_M = np.maximum(self._sum_of_squares_M / self._n - mean_M**2, 0.0)
        return mean_M, np.where(var_M > 1e-6, np.sqrt(np.maximum(var_M, 1e-6)), 1.0)


def hide_accelerators_from_tensorflow() -> None:
    """Leaves GPUs and TPUs to JAX; must come before TensorFlow's first operation."""
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
