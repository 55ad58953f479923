"""Opens and builds data sets by name."""

import contextlib
import dataclasses
import fcntl
import functools
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format
from ml_collections import ConfigDict

from damff_jax.evaluation.shares import Share, of_process
from damff_jax.features import FeatureConfig, check_same
from damff_jax.songs import LabelledSongs, Songs
from damff_jax.system.command_line import AlreadyReportedError
from damff_jax.system.files import remove_left_behind
from damff_jax.system.memory import total_memory
from damff_jax.system.subprocesses import environment
from input_pipeline.base import Prefill, SongBuilder, hide_accelerators_from_tensorflow
from input_pipeline.corpus import CorpusError, Options
from input_pipeline.embeddings import Embeddings, read_embeddings, teacher_targets
from input_pipeline.extraction import pool
from input_pipeline.feature_cache import CACHE_FOLDER
from input_pipeline.fingerprint import fingerprint
from input_pipeline.pipeline import load_songs
from input_pipeline.records import StreamedSongs
from input_pipeline.registry import builder_class
from input_pipeline.settings import make_settings
from input_pipeline.shards import check_shards
from input_pipeline.splits import (
    Split,
    digest,
    refuse_missing_audio,
    refuse_unscored,
    song_ids_by_split,
)

# What TFDS raises if its own files are damaged.
_TFDS_ERRORS = (
    json_format.ParseError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


# Reading "auto" streams songs that take a larger share of the machine's memory.
_SHARE_OF_MEMORY = 1 / 4


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared data set, and how its songs are split.

    Attributes:
      song_ids: of the songs in the shards, by split; splits without songs are absent.
      heard: embeddings that are the models' input instead of the log-Mel spectrogram.
      teacher: embeddings that are a second target of training.
      reading: where songs are between their uses: in "memory", in the shards ("stream"), or "auto",
        which depends on how much memory they take.
    """

    builder: SongBuilder
    split: Split
    song_ids: Mapping[str, tuple[str, ...]]
    heard: Embeddings | None = None
    teacher: Embeddings | None = None
    reading: str = "memory"

    @classmethod
    def of(
        cls, builder: SongBuilder, split: Split, manual_dir: str | os.PathLike = ""
    ) -> "Dataset":
        """Splits a built data set's songs.

        Args:
          manual_dir: folder of the user's files, if one of them holds the split.

        Raises:
          CorpusError: the split is not possible with these songs.
        """
        folder = Path(manual_dir) if manual_dir else None
        return cls(builder, split, song_ids_by_split(split, builder.song_list(), folder))

    @property
    def identity(self) -> str:
        """Names the data set, its version and the songs of every split."""
        songs = f"{self.split.label()}-{digest(self.song_ids)}"
        return f"{self.builder.name}/{self.builder.builder_config.name}/{songs}"

    def digests(self) -> dict[str, str | None]:
        """Digests of the files that it was made from: see `run.identity.checkpoint_meta`."""
        return {
            "files": self.builder.info.metadata.get("fingerprint"),
            "heard": self.heard and self.heard.digest,
            "teacher": self.teacher and self.teacher.digest,
        }

    def counts(self) -> dict[str, tuple[int, int]]:
        """Numbers of songs and segments, by split."""
        n_segments = self.builder.song_list().n_segments
        return {
            split: (len(song_ids), sum(n_segments[song_id] for song_id in song_ids))
            for split, song_ids in self.song_ids.items()
        }

    def facts(self) -> dict[str, Any]:
        """What a report says about the data, as JSON; see `damff_jax.report.pages.data_page`."""
        return {
            "name": self.builder.name,
            "identity": self.identity,
            "description": (self.builder.info.description or "").strip(),
            "citation": (self.builder.info.citation or "").strip(),
            "report": self.builder.info.metadata["report"],
            "n_segments": self.builder.song_list().n_segments,
            "splits": {split: list(song_ids) for split, song_ids in self.song_ids.items()},
        }

    def share(self, split: str, index: int = 0, count: int = 1) -> Share:
        """The songs of a split that process `index` of `count` evaluates.

        Raises:
          CorpusError: see `load`.
        """
        n_segments = self.builder.song_list().n_segments
        song_ids = self.song_ids[split]
        longest = max(n_segments[song_id] for song_id in song_ids)
        own = of_process(song_ids, index, count)
        return Share(song_ids, longest, self.load(split, own) if own else ())

    def load(self, split: str, song_ids: Sequence[str] | None = None) -> LabelledSongs:
        """The songs of a split, or some, in memory or read from the shards when they are needed.

        Raises:
          CorpusError: the split has no songs, or the shards are damaged.
        """
        if split not in self.song_ids:
            available = ", ".join(self.song_ids)
            raise CorpusError(f"{self.builder.data_dir}: no split {split}; available: {available}")
        wanted = self.song_ids[split] if song_ids is None else song_ids
        songs: Songs | StreamedSongs
        if self.is_streamed(split):
            check_shards(self.builder)
            songs = StreamedSongs.of(self.builder, wanted)
        else:
            songs = load_songs(self.builder, wanted)
        if self.heard is not None and isinstance(songs, Songs):
            heard_RxE, _ = self.heard.of_segments(songs, self._audio_start)
            songs = dataclasses.replace(songs, log_mel_RxFxM=heard_RxE[:, None])
        if self.teacher is not None and split == "train":
            targets = teacher_targets(*self.teacher.of_segments(songs, self._audio_start))
            songs = dataclasses.replace(songs, targets=targets)
        return songs

    def is_streamed(self, split: str) -> bool:
        """Whether the songs of a split stay in the shards."""
        if self.reading != "auto":
            return self.reading == "stream"
        features, (_, n_segments) = self.builder.features, self.counts()[split]
        size = 2 * n_segments * features.frames_per_segment * features.n_mels
        return size > _SHARE_OF_MEMORY * total_memory()

    @property
    def _audio_start(self) -> float:
        return getattr(self.builder.options, "audio_start", 0.0)


def open_configured(config: ConfigDict) -> Dataset:
    """The data set of a run's config, prepared if necessary.

    Raises:
      CorpusError, LabelError, AudioError, AlreadyReportedError, OSError: it cannot be prepared.
      ValueError: it does not match the config.
    """
    hide_accelerators_from_tensorflow()
    data = config.data
    options, split = make_settings(data.dataset, data.options.to_dict())
    dataset = open_prepared(
        data.dataset,
        data_dir=data.data_dir,
        manual_dir=data.manual_dir,
        features=FeatureConfig(**config.features),
        options=options,
        split=split,
        workers=data.workers,
        needed_splits=data.eval_splits,
    )
    heard = read_embeddings(data.heard) if data.heard else None
    teacher = read_embeddings(data.teacher) if data.teacher else None
    if teacher and teacher.size != config.model.teacher_size:
        raise ValueError(
            f"model.teacher_size: {config.model.teacher_size}, but the embeddings of "
            f"{teacher.path} have {teacher.size} dimensions"
        )
    # Here, so that with several processes the first does it before the others.
    check_shards(dataset.builder)
    # Neither the devices' copy of the songs nor embeddings in place of the sound are streamed.
    reading = "memory" if data.on_device or data.heard else data.reading
    return dataclasses.replace(dataset, heard=heard, teacher=teacher, reading=reading)


def open_builder(
    name: str, *, data_dir: str | os.PathLike, features: FeatureConfig, options: Options
) -> SongBuilder:
    """The builder of one version of a data set, whether built or not.

    Raises:
      CorpusError: the manifest of the shards is damaged.
      FeatureMismatchError: according to the manifest, the shards hold other features than their
        folder's name says.
    """
    cls = builder_class(name)
    config = cls.config(features, options)
    try:
        builder = cls(data_dir=os.fspath(data_dir), config=config)
    except CorpusError:
        raise
    except _TFDS_ERRORS as error:
        folder, reason = Path(data_dir, cls.name, config.name), " ".join(str(error).split())[:200]
        raise CorpusError(
            f"{folder}: the manifest cannot be read ({reason}); delete the folder and prepare again"
        ) from error
    if is_built(builder):
        stored = FeatureConfig.from_json(builder.info.metadata["features"])
        check_same(stored, features, builder.data_dir)
    return builder


def open_prepared(
    name: str,
    *,
    data_dir: str | os.PathLike,
    manual_dir: str,
    features: FeatureConfig,
    options: Options,
    split: Split,
    workers: int = 0,
    needed_splits: Sequence[str] = (),
) -> Dataset:
    """Opens a data set; if necessary, another process prepares it first.

    Args:
      manual_dir: folder of the user's files; empty: the shards are not compared with them.
      workers: see `prepare`; 0 for one per core.
      needed_splits: see `prepare`.

    Raises:
      CorpusError: `manual_dir` is not a directory, or the split is not possible with the songs.
      AlreadyReportedError: the data set could not be prepared.
    """
    if manual_dir and not Path(manual_dir).is_dir():
        raise CorpusError(f"data.manual_dir: {manual_dir} is not a directory")
    opened = functools.partial(
        open_builder, name, data_dir=data_dir, features=features, options=options
    )

    def fresh(builder: SongBuilder) -> Dataset | None:
        """The data set, unless it is not built or outdated."""
        compared = manual_dir and builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        if not is_built(builder) or (compared and is_outdated(builder, manual_dir)):
            return None
        check_built(builder, manual_dir, split, needed_splits=needed_splits)
        return Dataset.of(builder, split, manual_dir)

    builder = opened()
    if dataset := fresh(builder):
        return dataset
    command = [sys.executable, "-m", "input_pipeline.prepare", f"--dataset={name}"]
    command += [f"--data_dir={data_dir}"]
    command += [f"--manual_dir={manual_dir}"] if manual_dir else []
    command += [f"--workers={workers}"] if workers else []
    command += [f"--needed_splits={','.join(needed_splits)}"] if needed_splits else []
    values = {f"features.{key}": value for key, value in dataclasses.asdict(features).items()}
    values |= dataclasses.asdict(options) | dataclasses.asdict(split)
    for key, value in values.items():
        command.append(f"--{key}={value}")
    for folder in earlier_versions(builder):
        print(f"{folder}: shards of an earlier version, which are not read any more")
    print(f"preparing {name}", flush=True)
    status = subprocess.run(command, env=environment(), check=False).returncode
    # Status 1 also says that songs were left out.
    dataset = fresh(opened()) if status in (0, 1) else None
    if dataset is None:
        raise AlreadyReportedError(f"the data set {name} could not be prepared")
    return dataset


def is_built(builder: SongBuilder) -> bool:
    """Whether the shards and their manifest exist."""
    return bool(builder.info.splits) and "report" in (builder.info.metadata or {})


def earlier_versions(builder: SongBuilder) -> list[Path]:
    """Folders of the same songs and features that earlier versions of the program have made."""
    version = Path(builder.data_dir)
    folders = sorted(version.parent.glob("*")) if version.parent.is_dir() else []
    return [x for x in folders if x.name in builder.RELEASE_NOTES and x != version]


def is_outdated(builder: SongBuilder, manual_dir: str | os.PathLike) -> bool:
    """Whether a built data set was made from other files than those in `manual_dir`."""
    metadata = builder.info.metadata
    sounds = metadata.get("sounds", [])
    return metadata.get("fingerprint") != fingerprint(type(builder), manual_dir, sounds)


@contextlib.contextmanager
def lock(data_dir: str | os.PathLike) -> Iterator[None]:
    """Lets one process at a time build data sets in a folder; the others wait.

    The operating system releases the lock when a process dies.
    """
    os.makedirs(data_dir, exist_ok=True)
    with open(os.path.join(data_dir, ".lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare(
    builder: SongBuilder,
    *,
    manual_dir: str | os.PathLike | None = None,
    split: Split | None = None,
    workers: int = 1,
    require_all: bool = False,
    needed_splits: Sequence[str] = (),
    progress: bool = False,
    prefill: Prefill | None = None,
) -> bool:
    """Builds a data set unless it exists, made from the same files; returns whether it was built.

    Removes what killed builds have left, so the caller must hold the `lock`.

    Args:
      manual_dir: folder of the user's files, for data sets that need them.
      split: a split that must be possible with the songs; None: any.
      workers: processes that compute features; 1 computes them in this process.
      require_all: a labelled song of the split without audio is an error, and so is a song that
        cannot be read. Otherwise the build goes on without it, and reports it.
      needed_splits: splits of which at least one must have songs.
      progress: whether to show progress bars.
      prefill: computes features into the cache first, on other machines for example.

    Raises:
      AudioError, CorpusError, LabelError, OSError: nothing is left behind.
    """
    folder = folder_of(builder, manual_dir)
    if is_built(builder) and not (folder and is_outdated(builder, folder)):
        if split is not None:
            check_built(
                builder, folder, split, require_all=require_all, needed_splits=needed_splits
            )
        return False
    _remove_left_behind(builder)
    builder.split, builder.require_all, builder.progress = split, require_all, progress
    builder.needed_splits, builder.prefill = tuple(needed_splits), prefill
    version = Path(builder.data_dir)
    kept = version.with_name(f".{version.name}.old")
    try:
        # An outdated data set is kept until the new one is complete.
        if version.is_dir():
            shutil.rmtree(kept, ignore_errors=True)
            version.rename(kept)
        with pool(workers) if workers > 1 else contextlib.nullcontext() as builder.executor:
            _build(builder, manual_dir)
        shutil.rmtree(kept, ignore_errors=True)
    except BaseException:
        if kept.is_dir():
            kept.rename(version)
        # TFDS removes the unfinished data set, but not its parent folders.
        for folder in (version.parent, version.parents[1]):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    return True


def folder_of(builder: SongBuilder, manual_dir: str | os.PathLike | None) -> Path | None:
    """The folder of the user's files; None for a data set that needs none.

    Raises:
      CorpusError: it is needed, and not given or not a directory.
    """
    if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        return None
    if manual_dir is None or not Path(manual_dir).is_dir():
        what = "needs --manual_dir" if manual_dir is None else f"{manual_dir} is not a directory"
        raise CorpusError(f"{builder.name}: {what}. {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}")
    return Path(manual_dir)


def check_built(
    builder: SongBuilder,
    manual_dir: str | os.PathLike | None,
    split: Split,
    *,
    require_all: bool = False,
    needed_splits: Sequence[str] = (),
) -> None:
    """Checks of a finished data set what a build would check.

    Raises:
      CorpusError: songs are missing.
    """
    songs, report = builder.song_list(), builder.info.metadata["report"]
    folder = Path(manual_dir) if manual_dir else None
    if require_all:
        refuse_missing_audio(split.assign(songs, folder), report["left_out"])
        for reason in report["failed"].values():
            raise CorpusError(reason)
    by_split = song_ids_by_split(split, songs, folder)
    refuse_unscored(needed_splits, by_split, len(songs.labelled))


def _build(builder: SongBuilder, manual_dir: str | os.PathLike | None) -> None:
    tfds.disable_progress_bar()
    # Nothing is downloaded, but TFDS requires a folder for it, and prints that it downloads.
    with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stdout(io.StringIO()):
        try:
            builder.download_and_prepare(
                download_dir=empty,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=os.fspath(manual_dir or empty),
                    download_mode=tfds.GenerateMode.REUSE_CACHE_IF_EXISTS,
                ),
            )
        except tf.errors.OpError as error:  # For example, a full disk.
            reason = str(error).splitlines()[0]
            raise OSError(f"{builder.data_dir}: cannot be written ({reason})") from error


def _remove_left_behind(builder: SongBuilder) -> None:
    """Removes what killed builds have left; the caller must hold the lock."""
    folder = Path(builder.data_dir).parents[1]
    for left in folder.glob("*/incomplete.*_*"):  # TFDS's own.
        shutil.rmtree(left, ignore_errors=True)
    for below in (folder, *folder.parent.glob(f"{CACHE_FOLDER}/*")):
        if below.is_dir():
            remove_left_behind(below)
