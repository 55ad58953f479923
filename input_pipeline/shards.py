"""Shards whose bytes are a function of the examples, and digests by which damage is known.

A shard's records carry checksums, but a file that ends between two records, or that was put in
another's place, looks whole. So the account that is kept beside the shards (`metadata.json`) holds
the SHA-256 of each of them, and of itself.
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
    """A data set's metadata, saved with a digest of itself."""

    def save_metadata(self, data_dir: str | os.PathLike) -> None:
        text = json.dumps({**self, "sha256": _digest_of(self)})
        _path(data_dir).write_text(text, encoding="utf-8")

    def load_metadata(self, data_dir: str | os.PathLike) -> None:
        """Takes what was saved in the place of all that is here.

        Raises:
          CorpusError: it is not what was saved.
        """
        path = _path(data_dir)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            stored = values.pop("sha256", None)
            _check_form(values)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise CorpusError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
        if stored != _digest_of(values):
            raise CorpusError(f"{path}: damaged, not what was written; {_REMEDY}")
        self.clear()
        self.update(values)


class ShardWriter(writer.ExampleWriter):
    """Writes shards and enters their digests in `account["shards"]`, by file name."""

    def __init__(self, file_format: Any, account: dict[str, Any]):
        super().__init__(file_format)
        self._account = account

    def write(self, path: str | os.PathLike, examples: Iterable[tuple[Any, bytes]]) -> Any:
        """Writes serialized examples, `(key, bytes)`.

        Raises:
          OSError: they cannot be written.
        """
        try:
            positions = super().write(path, ((key, _in_order(text)) for key, text in examples))
        except tf.errors.OpError as error:
            raise OSError(f"{path}: cannot be written ({_first_line(error)})") from error
        shards = self._account.setdefault("shards", {})
        shards[os.path.basename(path)] = _digest_of_file(path)
        return positions


def check_shards(builder: tfds.core.DatasetBuilder) -> None:
    """Compares the shards with what was written; 1.7 GB take seconds.

    Raises:
      CorpusError: a shard is missing, or not what was written; or there are too few of them for the
        segments that the account speaks of.
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
            raise CorpusError(f"{path}: damaged, not what was written; {_REMEDY}")
    n_segments = sum(metadata["songs"].values())
    # Frames of float16, not compressed; more would take memory that no file accounts for.
    size_of_segment = 2 * builder.features.frames_per_segment * builder.features.n_mels
    size = sum(os.path.getsize(os.path.join(builder.data_dir, name)) for name in written)
    if n_segments * size_of_segment > size:
        raise CorpusError(
            f"{builder.data_dir}: {size} bytes of shards cannot hold {n_segments} segments; "
            f"{_REMEDY}"
        )


def _check_form(values: dict[str, Any]) -> None:
    """Checks what else would fail somewhere later: anybody can write a digest.

    Raises:
      ValueError, AttributeError, TypeError: it is no account.
    """
    for name, digest in values.get("shards", {}).items():
        if not isinstance(digest, str) or os.path.basename(name) != name:
            raise ValueError(f"shards: {name}: no file with a digest")
    for song_id, n_segments in values.get("songs", {}).items():
        if type(n_segments) is not int or n_segments < 1:
            raise ValueError(f"songs: {song_id}: {n_segments!r} is no number of segments")
    labelled = values.get("labelled", [])
    if not isinstance(labelled, list) or not all(isinstance(x, str) for x in labelled):
        raise ValueError("labelled: not a list of song ids")
    if "report" in values:
        missing = {"shards", "songs", "labelled"} - values.keys()
        missing |= {"left_out", "notes", "n_cut_off", "seconds_of_songs"} - values["report"].keys()
        if missing:
            raise ValueError(f"no {min(missing)}")
        if not values["songs"]:
            raise ValueError("songs: none")


def _in_order(serialized: bytes) -> bytes:
    """The same example with its features sorted by name: a map has no order of its own."""
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
