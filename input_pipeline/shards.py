"""Shards whose bytes are a function of the examples, and digests by which damage is detected.

A shard's records have checksums, but a file that is truncated between two records, or was replaced
by another, looks intact. So the manifest of the shards (`metadata.json`) holds the SHA-256 digest
of each shard, and of itself.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import writer

from input_pipeline.corpus import CorpusError

# The TFDS split that holds all songs.
SONGS = "songs"
_REMEDY = "delete the folder and prepare again"


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
            stored = values.pop("sha256", None)
            _check_form(values)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise CorpusError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
        if stored != _digest_of(values):
            raise CorpusError(f"{path}: damaged, does not match its digest; {_REMEDY}")
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
        try:
            positions = super().write(path, ((key, _in_order(text)) for key, text in examples))
        except tf.errors.OpError as error:
            raise OSError(f"{path}: cannot be written ({_first_line(error)})") from error
        shards = self._manifest.setdefault("shards", {})
        shards[os.path.basename(path)] = _digest_of_file(path)
        return positions


def check_shards(builder: tfds.core.DatasetBuilder) -> None:
    """Compares the shards with their digests; 1.7 GB take seconds.

    Raises:
      CorpusError: a shard is missing or damaged, or the shards are too small for the number of
        segments in the manifest.
    """
    metadata = builder.info.metadata
    written = metadata["shards"]
    for name in sorted(written):
        path = os.path.join(builder.data_dir, name)
        try:
            whole = _digest_of_file(path) == written[name]
        except OSError as error:
            raise CorpusError(f"{path}: {error.strerror}; {_REMEDY}") from error
        if not whole:
            raise CorpusError(f"{path}: damaged, does not match its digest; {_REMEDY}")
    n_segments = sum(metadata["songs"].values())
    # Frames are uncompressed float16; a larger number of segments would allocate too much memory.
    size_of_segment = 2 * builder.features.frames_per_segment * builder.features.n_mels
    size = sum(os.path.getsize(os.path.join(builder.data_dir, name)) for name in written)
    if n_segments * size_of_segment > size:
        raise CorpusError(
            f"{builder.data_dir}: {size} bytes of shards cannot hold {n_segments} segments; "
            f"{_REMEDY}"
        )


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
    labelled = values.get("labelled", [])
    if not isinstance(labelled, list) or not all(isinstance(x, str) for x in labelled):
        raise ValueError("labelled: not a list of song ids")
    if "report" in values:
        missing = {"shards", "songs", "labelled"} - values.keys()
        missing |= {"left_out", "notes", "n_cut_off", "seconds_of_songs"} - values["report"].keys()
        if missing:
            raise ValueError(f"{min(missing)} is missing")
        if not values["songs"]:
            raise ValueError("songs: empty")


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
