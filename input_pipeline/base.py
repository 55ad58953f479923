"""The base of all data set builders: from a corpus of songs to shards of log-Mel."""

import abc
import dataclasses
import hashlib
import inspect
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_metadata
from tqdm import tqdm

from damff_jax import audio
from damff_jax.audio import AudioError
from damff_jax.evaluation.label_summary import N_CELLS, LabelSummary, plane_counts
from damff_jax.features import SEGMENT_SECONDS, FeatureConfig
from input_pipeline.annotations import Labels
from input_pipeline.corpus import UNHEARD, Corpus, CorpusError, Options, Recording
from input_pipeline.extraction import Extracted
from input_pipeline.feature_cache import CACHE_FOLDER, FeatureCache
from input_pipeline.fingerprint import fingerprint
from input_pipeline.shards import (
    FILE_FORMAT,
    RECORD_SEGMENTS,
    SONGS,
    Manifest,
    ShardWriter,
    record_key,
)
from input_pipeline.splits import (
    DrawnSplit,
    SongList,
    Split,
    refuse_missing_audio,
    refuse_unscored,
    song_ids_by_split,
)

_Options = TypeVar("_Options", bound=Options)
# Computes songs' features into the cache; it may leave out any.
Prefill = Callable[[FeatureCache, Sequence[Recording], FeatureConfig], None]


@dataclasses.dataclass(eq=False)
class SongConfig(tfds.core.BuilderConfig):
    """A version of a data set, named by its options and features.

    The name contains hashes of both, so shards with other features cannot be confused with these.
    The split is not part of the name: all splits share the shards.
    """

    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    options: Options = dataclasses.field(default_factory=Options)


class SongBuilder(  # type: ignore[call-arg]  # TFDS accepts the keyword, but is not typed.
    tfds.core.GeneratorBasedBuilder, Generic[_Options], skip_registration=True
):
    """Base class of the data sets.

    An example is a part of a song, T ≤ `RECORD_SEGMENTS` segments long; the parts of a song cover
    the span of its labels:

        song_id   text
        log_mel   float16 (T, frames per segment, Mel bins), dB
        labels    float32 (T, 2), valence and arousal in [-1, 1]
        mask      bool (T, 2), false where a label is missing
        times     float32 (T,), the segments' starts in seconds

    All songs are in one TFDS split, `songs`. `info.metadata` is the manifest: the features, the
    options, the number of segments of every song and the index of its first one, the ids of all
    labelled songs, the report of the build, and the shards' digests.

    Subclasses define `corpus` and, if they have settings, `OPTIONS` and `SPLIT` (dataclasses);
    their base `SongBuilder[TheOptions]` declares the type of `options`. Those that read the user's
    files describe them in `MANUAL_DOWNLOAD_INSTRUCTIONS`. Files in a builder's own folder
    (README.md, CITATIONS.bib, TAGS.txt) become the description of the shards; for a builder without
    a folder, its docstring does.
    """

    VERSION = tfds.core.Version("3.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "2.0.0": "All songs in one split.",
        "3.0.0": "Records of up to 10 s, any of which can be read by itself.",
        "3.1.0": "The manifest describes the labels of every song.",
    }
    OPTIONS: ClassVar[type[Options]] = Options
    SPLIT: ClassVar[type[Split]] = DrawnSplit
    # Of a plug-in's code: a change makes its shards outdated. Within this package, VERSION does.
    code_digest: ClassVar[str] = ""

    # Set by the caller of a build: worker processes (None: none); a split that must be possible
    # with the songs; whether missing audio of one of its songs is an error, and a file that cannot
    # be read; splits of which one must have songs; and whether to show progress. `prefill` computes
    # songs' features on other machines: what it has put into the cache is not computed here.
    executor: Executor | None = None
    prefill: Prefill | None = None
    split: Split | None = None
    require_all: bool = False
    needed_splits: tuple[str, ...] = ()
    progress: bool = False

    # Names of the label files and the sound files in the user's folder, see `fingerprint`.
    LABEL_FILES: ClassVar[tuple[str, ...]] = ("*.csv", "*.json", "*.txt")
    SOUND_FILES: ClassVar[tuple[str, ...]] = tuple(f"*{name}" for name in audio.EXTENSIONS)

    @classmethod
    def config(
        cls, features: FeatureConfig | None = None, options: Options | None = None
    ) -> SongConfig:
        """The builder config with these features and options."""
        features, options = features or FeatureConfig(), options or cls.OPTIONS()
        values = dataclasses.asdict(options)
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        return SongConfig(
            name=f"{digest}-{features.hash}",
            description=f"{values or 'no options'}; {features}",
            features=features,
            options=options,
        )

    @abc.abstractmethod
    def corpus(self, manual_dir: Path) -> Corpus:
        """Finds the songs.

        Args:
          manual_dir: the folder of the user's files; ignored by data sets that need none.

        Raises:
          CorpusError, LabelError: the directory does not hold the data set.
        """

    def __init__(self, *, config: SongConfig | None = None, **kwargs: Any):
        super().__init__(config=config or self.config(), file_format=FILE_FORMAT, **kwargs)

    @classmethod
    def get_metadata(cls) -> dataset_metadata.DatasetMetadata:
        # Files next to a plug-in need not belong to it.
        if cls.code_digest:
            return dataset_metadata.DatasetMetadata(description=None, citation=None, tags=[])
        return super().get_metadata()

    @property
    def features(self) -> FeatureConfig:
        return self.builder_config.features

    @property
    def options(self) -> _Options:
        return self.builder_config.options

    @property
    def cache(self) -> FeatureCache:
        """The features of all songs that have been computed so far."""
        # data_dir is <folder>/<data set>/<config>/<version>; all data sets share the cache.
        return FeatureCache(Path(self.data_dir).parents[2] / CACHE_FOLDER)

    def _info(self) -> tfds.core.DatasetInfo:
        f, m = self.features.frames_per_segment, self.features.n_mels

        def as_bytes(dtype: type, *shape: int) -> tfds.features.Tensor:
            raw = tfds.features.Encoding.BYTES
            return tfds.features.Tensor(shape=(None, *shape), dtype=dtype, encoding=raw)

        return self.dataset_info_from_configs(
            description=inspect.getdoc(type(self)),
            features=tfds.features.FeaturesDict(
                {
                    "song_id": tfds.features.Text(),
                    "log_mel": as_bytes(np.float16, f, m),
                    "labels": as_bytes(np.float32, 2),
                    "mask": as_bytes(np.bool_, 2),
                    "times": as_bytes(np.float32),
                }
            ),
            disable_shuffling=True,  # The records are in the order of their keys.
            metadata=Manifest(
                features=self.features.to_json(), options=dataclasses.asdict(self.options)
            ),
        )

    def _example_writer(self) -> ShardWriter:
        return ShardWriter(self.info.file_format, self.info.metadata)

    def song_list(self) -> SongList:
        """The songs of a built data set."""
        metadata = self.info.metadata
        return SongList(tuple(metadata["labelled"]), metadata["songs"])

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        metadata = self.info.metadata
        metadata.pop("shards", None)  # Those of the outdated data set.
        manual_dir = Path(dl_manager.manual_dir) if self.MANUAL_DOWNLOAD_INSTRUCTIONS else None
        corpus, _ = self.planned(manual_dir)
        metadata["fingerprint"] = None
        if manual_dir:
            # Before the files are decoded: if one changes later, the data set is built again.
            metadata["sounds"] = corpus.sounds(manual_dir)
            metadata["fingerprint"] = fingerprint(type(self), manual_dir, metadata["sounds"])
        return {SONGS: self._generate_examples(corpus)}

    def planned(self, manual_dir: Path | None) -> tuple[Corpus, dict[str, tuple[str, ...]]]:
        """The songs that would be built, and their ids by split; no sound is read.

        Raises:
          CorpusError, LabelError: there are none, or the split is not possible with them.
        """
        corpus = self.corpus(manual_dir or Path())
        if self.require_all and corpus.failed:
            raise CorpusError(next(iter(corpus.failed.values())).reason)
        if self.split is None:
            return corpus, {}
        n_segments = {song.song_id: len(song.labels) for song in corpus.songs}
        songs = SongList(tuple(corpus.labelled), n_segments)
        by_split = song_ids_by_split(self.split, songs, manual_dir)
        if self.require_all:
            refuse_missing_audio(self.split.assign(songs, manual_dir), corpus.left_out)
        refuse_unscored(self.needed_splits, by_split, len(corpus.labelled))
        return corpus, by_split

    def _generate_examples(self, corpus: Corpus) -> Iterator[tuple[int, dict[str, Any]]]:
        report = BuildReport(corpus)
        n_songs, extracted = len(corpus.songs), self._extracted(corpus)
        bar = tqdm(extracted, self.name, n_songs, unit="song", disable=not self.progress)
        for i, (song, features) in enumerate(bar):
            if isinstance(features, AudioError):
                if self.require_all:
                    raise features
                report.fail(song, features)
                continue
            labels = song.labels.head(len(features.log_mel_TxFxM))
            report.add(song, labels, features)
            for k, record in enumerate(records_of(song.song_id, labels, features.log_mel_TxFxM)):
                yield record_key(i, k, n_songs), record
        report.check()
        # Written with the data set's info at the end.
        self.info.metadata.update(
            report=report.to_json(),
            songs=report.n_segments,
            first_segments=report.first_segments,
            labelled=corpus.labelled,
        )

    def _extracted(self, corpus: Corpus) -> Iterator[tuple[Recording, Extracted | AudioError]]:
        """The songs with their features."""
        if self.prefill is not None:
            self.prefill(self.cache, corpus.songs, self.features)
        return self.cache.extract_all(corpus.songs, self.features, self.executor)


def records_of(song_id: str, labels: Labels, log_mel_TxFxM: np.ndarray) -> Iterator[dict[str, Any]]:
    """A song's examples in their order."""
    times_T = SEGMENT_SECONDS * (labels.first_segment + np.arange(len(labels)))
    for start in range(0, len(labels), RECORD_SEGMENTS):
        part = slice(start, start + RECORD_SEGMENTS)
        yield {
            "song_id": song_id,
            "log_mel": log_mel_TxFxM[part],
            "labels": labels.values_TxV[part],
            "mask": labels.mask_TxV[part],
            "times": times_T[part].astype(np.float32),
        }


class BuildReport:
    """What a build has found and done, song by song."""

    def __init__(self, corpus: Corpus):
        self.n_segments: dict[str, int] = {}
        self.first_segments: dict[str, int] = {}
        self.failed = {song_id: failure.reason for song_id, failure in corpus.failed.items()}
        self._corpus = corpus
        self._n_past = self._n_labels = 0
        self._labels: dict[str, LabelSummary] = {}
        self._plane = np.zeros((N_CELLS, N_CELLS), int)
        self._seconds = [math.inf, 0.0]
        self._started = time.monotonic()

    def add(self, song: Recording, labels: Labels, features: Extracted) -> None:
        """Adds a song; `labels` are those that have audio."""
        if not len(labels):
            self._note(self._corpus.left_out, UNHEARD, song.song_id)
        elif features.n_missing:
            what = "labels after the end of the audio, cut off"
            self._note(self._corpus.notes, what, song.song_id)
            self._n_past += features.n_missing
        for warning in features.warnings:
            self._note(self._corpus.notes, "decoder warnings", warning)
        if len(labels):
            self.n_segments[song.song_id] = len(labels)
            self.first_segments[song.song_id] = labels.first_segment
            self._n_labels += int(labels.mask_TxV.sum())
            first, end = labels.first_segment, labels.first_segment + len(labels)
            self._seconds[0] = min(self._seconds[0], SEGMENT_SECONDS * first)
            self._seconds[1] = max(self._seconds[1], SEGMENT_SECONDS * end)
            of_labels = labels.values_TxV, labels.mask_TxV
            self._labels[song.song_id] = LabelSummary.of(SEGMENT_SECONDS * first, *of_labels)
            self._plane += plane_counts(*of_labels)

    def check(self) -> None:
        """Checks that a song was built.

        Raises:
          CorpusError: there is none.
        """
        if not self.n_segments and self.failed:
            first = next(iter(self.failed.values()))
            raise CorpusError(f"no song can be built; the first of {len(self.failed)}: {first}")
        if not self.n_segments:
            raise CorpusError("no song has a labelled segment with audio")

    def fail(self, song: Recording, error: AudioError) -> None:
        """Adds a song whose file cannot be read."""
        self.failed[song.song_id] = str(error)

    @staticmethod
    def _note(notes: dict[str, list[str]], reason: str, text: str) -> None:
        notes.setdefault(reason, []).append(text)

    def to_json(self) -> dict[str, Any]:
        """Counts; the span of the songs in s; what was cut off, failed, left out, and noted; the
        labels of every song, see `LabelSummary`, and of all on the plane, see `plane_counts`.
        """
        return {
            "n_songs": len(self.n_segments),
            "n_segments": sum(self.n_segments.values()),
            "n_labels": self._n_labels,
            "seconds_of_songs": self._seconds,
            "n_cut_off": {"before": self._corpus.n_before, "past": self._n_past},
            "failed": self.failed,
            "left_out": self._corpus.left_out,
            "notes": self._corpus.notes,
            "labels": {song_id: labels.to_json() for song_id, labels in self._labels.items()},
            "plane": self._plane.tolist(),
            "build_seconds": round(time.monotonic() - self._started, 3),
        }


def hide_accelerators_from_tensorflow() -> None:
    """Leaves GPUs and TPUs to JAX; call it before TensorFlow's first operation."""
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
