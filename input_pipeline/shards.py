"""Shards whose bytes are a function of the examples, and digests by which damage is detected.

Shards are ArrayRecord files, which give access to any record. A record holds up to
`RECORD_SEGMENTS` segments of one song, so that a crop can be read without the rest of the song; the
records of a song follow each other, and the songs are in the order of the manifest.

Every record has a checksum, which is compared whenever it is read. But a file that is truncated
between two records, or was replaced by another, looks intact. So the manifest of the shards
(`metadata.json`) holds the SHA-256 digest of each shard, and of itself. Whole shards are compared
once; which ones were intact, and when they were last changed, is remembered next to them.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import writer

from damff_jax.system.files import atomic_write
from input_pipeline.corpus import CorpusError

# The TFDS split that holds all songs.
SONGS = "songs"
FILE_FORMAT = tfds.core.FileFormat.ARRAY_RECORD
# Segments of a record: 10 s. A crop of 30 s is read with a third more than needed, at worst.
RECORD_SEGMENTS = 20
# What is read from the report of a build.
_IN_REPORT = {"failed", "left_out", "notes", "n_cut_off", "seconds_of_songs", "labels", "plane"}
REMEDY = "delete the folder and prepare again"
# A record per chunk, because chunks are read as a whole. Log-Mel is hardly compressible.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_INTACT = ".intact.json"
# A file that is changed within the resolution of its time stamp looks unchanged.
_SETTLED_NS = 2 * 10**9


def record_key(song: int, record: int, n_songs: int) -> int:
    """The key of a song's record: TFDS writes records in the order of their keys.

    Keys are spread over all of TFDS's 128 bits, by which it sorts large data sets in parts.
    """
    return song * (2**128 // n_songs) + record


class Manifest(tfds.core.Metadata):
    """A data set's metadata, which is saved with its own digest."""

    def save_metadata(self, data_dir: str | os.PathLike) -> None:
        text = json.dumps({**self, "sha256": _digest_of(self)})
        _path(data_dir).write_text(text, encoding="utf-8")

    def load_metadata(self, data_dir: str | os.PathLike) -> None:
        """Replaces the content by what was saved.

        Raises:
          CorpusError: the file is damaged.
        """
        path = _path(data_dir)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            damaged = values.pop("sha256", None) != _digest_of(values)
            if not damaged:
                _check_form(values)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise CorpusError(f"{path}: cannot be read ({error}); {REMEDY}") from error
        if damaged:
            raise CorpusError(f"{path}: damaged, does not match its digest; {REMEDY}")
        self.clear()
        self.update(values)


class ShardWriter(writer.ExampleWriter):
    """Writes shards and stores their digests in `manifest["shards"]`, by file name."""

    def __init__(self, file_format: Any, manifest: dict[str, Any]):
        super().__init__(file_format)
        self._manifest = manifest

    def write(self, path: str | os.PathLike, examples: Iterable[tuple[Any, bytes]]) -> Any:
        """Writes serialized examples, `(key, bytes)`.

        Raises:
          OSError: they cannot be written.
        """
        path = os.fspath(path)
        try:
            # TFDS's own adapter would compress them.
            shard = array_record_module.ArrayRecordWriter(path, _WRITER_OPTIONS)
            try:
                for _, text in examples:
                    shard.write(_in_order(text))
            finally:
                shard.close()
        except (tf.errors.OpError, RuntimeError) as error:
            raise OSError(f"{path}: cannot be written ({_first_line(error)})") from error
        shards = self._manifest.setdefault("shards", {})
        shards[os.path.basename(path)] = _digest_of_file(path)


def check_shards(builder: tfds.core.DatasetBuilder) -> None:
    """Compares the shards with their digests, unless that was done and they did not change since.

    1.7 GB take seconds.

    Raises:
      CorpusError: a shard is missing or damaged, or the shards are too small for the number of
        segments in the manifest.
    """
    metadata, folder = builder.info.metadata, Path(builder.data_dir)
    written = metadata["shards"]
    known, intact, size = _read_intact(folder), {}, 0
    for name in sorted(written):
        path = folder / name
        try:
            status = path.stat()
            # The time of the last change of any kind, which cannot be set.
            entry = [written[name], status.st_size, status.st_ctime_ns]
            whole = known.get(name) == entry or _digest_of_file(path) == written[name]
        except OSError as error:
            raise CorpusError(f"{path}: {error.strerror}; {REMEDY}") from error
        if not whole:
            raise CorpusError(f"{path}: damaged, does not match its digest; {REMEDY}")
        size += status.st_size
        if time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
            intact[name] = entry
    n_segments = sum(metadata["songs"].values())
    # Frames are uncompressed float16; a larger number of segments would allocate too much memory.
    size_of_segment = 2 * builder.features.frames_per_segment * builder.features.n_mels
    if n_segments * size_of_segment > size:
        raise CorpusError(
            f"{folder}: {size} bytes of shards cannot hold {n_segments} segments; {REMEDY}"
        )
    if intact != known:
        # A folder that is read-only is compared every time.
        with contextlib.suppress(OSError), atomic_write(folder / _INTACT) as file:
            json.dump(intact, file)


def _read_intact(folder: Path) -> dict[str, list]:
    """Digest, size and time of the last change of the shards that were found intact, by name."""
    try:
        known = json.loads((folder / _INTACT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _check_form(values: dict[str, Any]) -> None:
    """Checks the form, because otherwise later code would fail: anybody can write a valid digest.

    Raises:
      ValueError, AttributeError, TypeError: not a manifest.
    """
    for name, digest in values.get("shards", {}).items():
        if not isinstance(digest, str) or os.path.basename(name) != name:
            raise ValueError(f"shards: {name}: not a file name with a digest")
    for song_id, n_segments in values.get("songs", {}).items():
        if type(n_segments) is not int or n_segments < 1:
            raise ValueError(f"songs: {song_id}: {n_segments!r} is not a number of segments")
    for song_id, segment in values.get("first_segments", {}).items():
        if type(segment) is not int or not 0 <= segment < 2**31:
            raise ValueError(f"first_segments: {song_id}: {segment!r} is not a segment")
    labelled = values.get("labelled", [])
    if not isinstance(labelled, list) or not all(isinstance(x, str) for x in labelled):
        raise ValueError("labelled: not a list of song ids")
    sounds = values.get("sounds", [])
    if not isinstance(sounds, list) or not all(isinstance(x, str) for x in sounds):
        raise ValueError("sounds: not a list of files")
    if "report" in values:
        missing = {"shards", "songs", "first_segments", "labelled"} - values.keys()
        missing |= _IN_REPORT - values["report"].keys()
        if missing:
            raise ValueError(f"{min(missing)} is missing")
        if not values["songs"]:
            raise ValueError("songs: empty")
        for name, of_songs in (
            ("first_segments", values["first_segments"]),
            ("labels", values["report"]["labels"]),
        ):
            if of_songs.keys() != values["songs"].keys():
                raise ValueError(f"{name}: not those of the songs")


def _in_order(serialized: bytes) -> bytes:
    """The same example with its features sorted by name: the order in a map is arbitrary."""
    return tf.train.Example.FromString(serialized).SerializeToString(deterministic=True)


def _path(data_dir: str | os.PathLike) -> Path:
    return Path(data_dir) / "metadata.json"


def _digest_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _digest_of_file(path: str | os.PathLike) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
