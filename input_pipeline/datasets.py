"""The data sets by name, and building one."""

import contextlib
import dataclasses
import fcntl
import fnmatch
import functools
import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format
from ml_collections import ConfigDict

from damff_jax.features import FeatureConfig, check_same
from damff_jax.songs import Songs
from damff_jax.system.command_line import AlreadyReportedError
from damff_jax.system.files import remove_left_behind
from damff_jax.system.subprocesses import environment
from input_pipeline.base import SongBuilder, hide_accelerators_from_tensorflow
from input_pipeline.corpus import CorpusError, Options
from input_pipeline.embeddings import Embeddings, read_embeddings, teacher_targets
from input_pipeline.extraction import pool
from input_pipeline.feature_cache import CACHE_FOLDER
from input_pipeline.pipeline import load_songs
from input_pipeline.registry import builder_class
from input_pipeline.settings import make_settings
from input_pipeline.splits import Split, digest, refuse_missing_audio, song_ids_by_split

# What TFDS raises where its own files are not as it wrote them.
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


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set that is prepared, and how its songs are split.

    Attributes:
      song_ids: of the songs in the shards, by split; splits without songs are absent.
      heard: embeddings that models hear in the place of the log-Mel spectrogram.
      teacher: embeddings that training songs have as a second target.
    """

    builder: SongBuilder
    split: Split
    song_ids: Mapping[str, tuple[str, ...]]
    heard: Embeddings | None = None
    teacher: Embeddings | None = None

    @classmethod
    def of(
        cls, builder: SongBuilder, split: Split, manual_dir: str | os.PathLike = ""
    ) -> "Dataset":
        """Deals a built data set's songs.

        Args:
          manual_dir: where the user's files are, if the split stands in one of them.

        Raises:
          CorpusError: the split makes no sense for these songs.
        """
        folder = Path(manual_dir) if manual_dir else None
        return cls(builder, split, song_ids_by_split(split, builder.song_list(), folder))

    @property
    def identity(self) -> str:
        """Names the data set, its version and the songs of every split."""
        songs = f"{self.split.label()}-{digest(self.song_ids)}"
        return f"{self.builder.name}/{self.builder.builder_config.name}/{songs}"

    def digests(self) -> dict[str, str | None]:
        """Of the files that it was made from: see `run.identity.checkpoint_meta`."""
        return {
            "files": self.builder.info.metadata.get("fingerprint"),
            "heard": self.heard and self.heard.digest,
            "teacher": self.teacher and self.teacher.digest,
        }

    def summary(self) -> str:
        """How many songs and segments every split has, a line each."""
        return "\n".join(
            f"  {split:<10} {n_songs:5d} songs  {n_segments:7d} segments"
            for split, (n_songs, n_segments) in self.counts().items()
        )

    def counts(self) -> dict[str, tuple[int, int]]:
        """Songs and segments of every split."""
        n_segments = self.builder.song_list().n_segments
        return {
            split: (len(song_ids), sum(n_segments[song_id] for song_id in song_ids))
            for split, song_ids in self.song_ids.items()
        }

    def load(self, split: str) -> Songs:
        """Reads the songs of a split.

        Raises:
          CorpusError: the split has no songs, or the shards are not those that were written.
        """
        if split not in self.song_ids:
            there_are = ", ".join(self.song_ids)
            raise CorpusError(f"{self.builder.data_dir}: no split {split}; there are {there_are}")
        songs = load_songs(self.builder, self.song_ids[split])
        if self.heard is not None:
            heard_RxE, _ = self.heard.of_segments(songs, self._audio_start)
            songs = dataclasses.replace(songs, log_mel_RxFxM=heard_RxE[:, None])
        if self.teacher is not None and split == "train":
            targets = teacher_targets(*self.teacher.of_segments(songs, self._audio_start))
            songs = dataclasses.replace(songs, targets=targets)
        return songs

    @property
    def _audio_start(self) -> float:
        return getattr(self.builder.options, "audio_start", 0.0)


def open_configured(config: ConfigDict) -> Dataset:
    """The data set of a run's config, prepared if need be.

    Raises:
      CorpusError, LabelError, AudioError, AlreadyReportedError, OSError: there is none.
      ValueError: it does not fit the config.
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
    )
    heard = read_embeddings(data.heard) if data.heard else None
    teacher = read_embeddings(data.teacher) if data.teacher else None
    if teacher and teacher.size != config.model.teacher_size:
        raise ValueError(
            f"model.teacher_size: {config.model.teacher_size}, and the embeddings of "
            f"{teacher.path} have {teacher.size} dimensions"
        )
    if not set(data.eval_splits) & dataset.song_ids.keys():
        raise ValueError(f"none of data.eval_splits {tuple(data.eval_splits)} has songs")
    return dataclasses.replace(dataset, heard=heard, teacher=teacher)


def open_builder(
    name: str, *, data_dir: str | os.PathLike, features: FeatureConfig, options: Options
) -> SongBuilder:
    """The builder of one version of a data set, built or not.

    Raises:
      CorpusError: the account of the shards is damaged.
      FeatureMismatchError: the shards say that they hold other features than their folder's name.
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
            f"{folder}: the account of its shards cannot be read ({reason}); delete the folder and "
            "prepare again"
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
) -> Dataset:
    """A data set that is there, after a process of its own made it if need be.

    Args:
      manual_dir: where the user's files are; empty: the shards are not compared with them.
      workers: see `prepare`; 0 for one per core.

    Raises:
      CorpusError: `manual_dir` is no directory, or the split makes no sense for the songs.
      AlreadyReportedError: the data set could not be made.
    """
    if manual_dir and not Path(manual_dir).is_dir():
        raise CorpusError(f"data.manual_dir: {manual_dir} is no directory")
    opened = functools.partial(
        open_builder, name, data_dir=data_dir, features=features, options=options
    )
    builder = opened()
    fresh = is_built(builder)
    if fresh and manual_dir and builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        fresh = not is_outdated(builder, manual_dir)
    if fresh:
        return Dataset.of(builder, split, manual_dir)
    command = [sys.executable, "-m", "input_pipeline.prepare", f"--dataset={name}"]
    command += [f"--data_dir={data_dir}"]
    command += [f"--manual_dir={manual_dir}"] if manual_dir else []
    command += [f"--workers={workers}"] if workers else []
    knobs = {f"features.{key}": value for key, value in dataclasses.asdict(features).items()}
    knobs |= dataclasses.asdict(options) | dataclasses.asdict(split)
    for key, value in knobs.items():
        command.append(f"--{key}={value}")
    print(f"preparing {name}", flush=True)
    if subprocess.run(command, env=environment(), check=False).returncode:
        raise AlreadyReportedError(f"the data set {name} could not be prepared")
    return Dataset.of(opened(), split, manual_dir)


def is_built(builder: SongBuilder) -> bool:
    """Whether the shards and the account of them are there."""
    return bool(builder.info.splits) and "report" in (builder.info.metadata or {})


def is_outdated(builder: SongBuilder, manual_dir: str | os.PathLike) -> bool:
    """Whether a built data set was made from other files than those of `manual_dir`."""
    return builder.info.metadata.get("fingerprint") != _fingerprint(type(builder), manual_dir)


def _fingerprint(cls: type[SongBuilder], manual_dir: str | os.PathLike) -> str:
    """Of the user's files and, of a plug-in, its code."""
    files = fingerprint_of(Path(manual_dir), cls.LABEL_FILES, cls.SOUND_FILES)
    return f"{files}-{cls.code_digest}" if cls.code_digest else files


@contextlib.contextmanager
def lock(data_dir: str | os.PathLike) -> Iterator[None]:
    """Lets one process at a time build below a folder; the others wait.

    The lock is the system's, so a process that dies does not hold it on.
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
    progress: bool = False,
) -> bool:
    """Builds a data set unless it is there, made from the same files; says whether it built.

    What killed builds have left is removed, so the caller holds the `lock`.

    Args:
      manual_dir: where the user's files are, for data sets that need them.
      split: what the songs must allow; None: anything.
      workers: processes that compute features; 1 computes them in this one.
      require_all: a labelled song of the split without audio is an error.
      progress: whether to show progress bars.

    Raises:
      AudioError, CorpusError, LabelError, OSError: nothing is left behind.
    """
    cls = type(builder)
    fingerprint = None
    if cls.MANUAL_DOWNLOAD_INSTRUCTIONS:
        if manual_dir is None or not Path(manual_dir).is_dir():
            what = "needs --manual_dir" if manual_dir is None else f"{manual_dir} is no directory"
            raise CorpusError(f"{builder.name}: {what}. {cls.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        fingerprint = _fingerprint(cls, manual_dir)
    if is_built(builder) and builder.info.metadata.get("fingerprint") == fingerprint:
        if require_all and split is not None:
            split_of = split.assign(builder.song_list(), Path(manual_dir) if manual_dir else None)
            refuse_missing_audio(split_of, builder.info.metadata["report"]["left_out"])
        return False
    _remove_left_behind(builder)
    builder.split, builder.require_all, builder.progress = split, require_all, progress
    builder.info.metadata["fingerprint"] = fingerprint
    version = Path(builder.data_dir)
    kept = version.with_name(f".{version.name}.old")
    try:
        # An outdated data set is kept until the new one is there.
        if version.is_dir():
            shutil.rmtree(kept, ignore_errors=True)
            version.rename(kept)
        with pool(workers) if workers > 1 else contextlib.nullcontext() as builder.executor:
            _build(builder, manual_dir)
        shutil.rmtree(kept, ignore_errors=True)
    except BaseException:
        if kept.is_dir():
            kept.rename(version)
        # TFDS removes the data set that it had begun, but not the folders around it.
        for folder in (version.parent, version.parents[1]):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    return True


def _build(builder: SongBuilder, manual_dir: str | os.PathLike | None) -> None:
    tfds.disable_progress_bar()
    # Nothing is downloaded, but TFDS insists on a place for it, and announces a download.
    with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stdout(io.StringIO()):
        try:
            builder.download_and_prepare(
                download_dir=empty,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=os.fspath(manual_dir or empty),
                    download_mode=tfds.GenerateMode.REUSE_CACHE_IF_EXISTS,
                ),
            )
        except tf.errors.OpError as error:  # Such as a full disk's.
            reason = str(error).splitlines()[0]
            raise OSError(f"{builder.data_dir}: cannot be written ({reason})") from error


def fingerprint_of(directory: Path, label_files: Sequence[str], sound_files: Sequence[str]) -> str:
    """A hash over the content of label files, and over names and sizes of those that hold sound.

    Args:
      label_files, sound_files: patterns of their paths within the directory, see `SongBuilder`.
    """

    def is_one(relative: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatch(relative.lower(), pattern.lower()) for pattern in patterns)

    digest, seen = hashlib.sha256(), set()
    # Folders may be links, and links may lead back.
    for root, folders, names in os.walk(directory, followlinks=True):
        folders.sort()
        if os.path.realpath(root) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(root))
        for name in sorted(names):
            path = os.path.join(root, name)
            relative = os.path.relpath(path, directory)
            is_labels = is_one(relative, label_files)
            if not is_labels and not is_one(relative, sound_files):
                continue
            digest.update(f"{relative}\0".encode(errors="surrogateescape"))
            # A link that leads nowhere is a file nonetheless.
            status = os.stat(path) if os.path.exists(path) else os.lstat(path)
            if is_labels and stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    while block := file.read(2**20):
                        digest.update(block)
            else:
                digest.update(str(status.st_size).encode())
    return digest.hexdigest()


def _remove_left_behind(builder: SongBuilder) -> None:
    """Removes what killed builds have left; whoever calls this holds the lock."""
    folder = Path(builder.data_dir).parents[1]
    for left in folder.glob("*/incomplete.*_*"):  # TFDS's own.
        shutil.rmtree(left, ignore_errors=True)
    for below in (folder, *folder.parent.glob(f"{CACHE_FOLDER}/*")):
        if below.is_dir():
            remove_left_behind(below)
