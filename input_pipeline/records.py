"""Access to the records of shards, and songs that are read from there when they are needed.

Letters: T segments, R segments of all songs, F frames per segment, M Mel bins, V = 2.
"""

import bisect
import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError

from damff_jax.features import SEGMENT_SECONDS
from damff_jax.songs import LabelledSongs, Song
from damff_jax.system.files import atomic_write
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import CorpusError
from input_pipeline.shards import RECORD_SEGMENTS, REMEDY, SONGS

# Records that are read at the same time: several, because a disk or a network takes its time.
THREADS = 8
# Songs that are read ahead of the one that is being used.
_SONGS_AHEAD = 2
# Arrays of a batch, and what they are called in a record.
_NAMES = {"log_mel": "log_mel", "labels": "labels", "label_mask": "mask"}
# What ArrayRecord, Protocol Buffers and TFDS raise for a damaged file.
_ERRORS = (DecodeError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError)


class Records:
    """The records of a built data set. Several threads may read at the same time.

    Raises:
      CorpusError: TFDS's description of the shards is damaged, or they do not have the number of
        records that follows from the manifest.
    """

    def __init__(self, builder: SongBuilder):
        self._n_segments = builder.info.metadata["songs"]
        self._first_segments = builder.info.metadata["first_segments"]
        n_records = [n_records_of(n) for n in self._n_segments.values()]
        positions = itertools.accumulate(n_records, initial=0)
        self._position = dict(zip(self._n_segments, positions, strict=False))
        # TFDS's own decoding takes longer than everything else.
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        try:
            split = builder.info.splits[SONGS]
            self._paths = split.filepaths
            self._ends = list(itertools.accumulate(split.shard_lengths))
            self._source = builder.as_data_source(split=SONGS, deserialize_method=raw)
        except _ERRORS as error:
            reason = " ".join(str(error).split())
            raise CorpusError(
                f"{builder.data_dir}: dataset_info.json is damaged ({reason}); {REMEDY}"
            ) from error
        if sum(n_records) != self._ends[-1]:
            raise CorpusError(
                f"{builder.data_dir}: {self._ends[-1]} records instead of {sum(n_records)} for the "
                f"songs that its manifest lists; {REMEDY}"
            )
        f, m = builder.features.frames_per_segment, builder.features.n_mels
        self._form: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
            "log_mel": (np.dtype("<f2"), (f, m)),
            "labels": (np.dtype("<f4"), (2,)),
            "mask": (np.dtype(bool), (2,)),
            "times": (np.dtype("<f4"), ()),
        }

    def read(self, song_id: str, record: int) -> dict[str, np.ndarray]:
        """A record of a song: `log_mel`, `labels`, `mask` and `times`, see `SongBuilder`.

        Its checksum is compared, and that it is the one that is wanted.

        Raises:
          CorpusError: it is damaged; the message names the shard.
        """
        position = self._position[song_id] + record
        try:
            content = tf.train.Example.FromString(self._source[position]).features.feature
            example = {
                name: np.frombuffer(content[name].bytes_list.value[0], dtype).reshape(-1, *shape)
                for name, (dtype, shape) in self._form.items()
            }
            if content["song_id"].bytes_list.value[0] != song_id.encode():
                raise ValueError("holds another song")
            if not self._are_wanted(example, song_id, record):
                raise ValueError("holds other segments")
        except _ERRORS as error:
            path = self._paths[min(bisect.bisect(self._ends, position), len(self._paths) - 1)]
            reason = " ".join(str(error).split())
            raise CorpusError(
                f"{path}: record {record} of song {song_id} is damaged ({reason}); {REMEDY}"
            ) from error
        return example

    def times(self, song_id: str) -> np.ndarray:
        """The starts of a song's segments in seconds (T,), float32."""
        segments_T = self._first_segments[song_id] + np.arange(self._n_segments[song_id])
        return (SEGMENT_SECONDS * segments_T).astype(np.float32)

    def _are_wanted(self, example: Mapping[str, np.ndarray], song_id: str, record: int) -> bool:
        first = record * RECORD_SEGMENTS
        n = min(self._n_segments[song_id] - first, RECORD_SEGMENTS)
        start = np.float32(SEGMENT_SECONDS * (self._first_segments[song_id] + first))
        return all(len(x) == n for x in example.values()) and example["times"][0] == start


def n_records_of(n_segments: int) -> int:
    """How many records a song has."""
    return -(-n_segments // RECORD_SEGMENTS)


def layout(builder: SongBuilder, song_ids: Collection[str]) -> tuple[np.ndarray, np.ndarray]:
    """`first` and `length` of songs, see `LabelledSongs`."""
    n_segments = builder.info.metadata["songs"]
    length = np.array([n_segments[song_id] for song_id in song_ids], np.int64)
    return np.cumsum(length) - length, length


@dataclasses.dataclass(frozen=True)
class StreamedSongs(LabelledSongs):
    """Songs of a split whose records are read when they are needed, and not kept.

    Attributes:
      statistics_path: where the statistics of the Mel bins are kept; computing them takes a look
        at all songs.
      targets: arrays (R, ...) in memory, as in `Songs`.
    """

    records: Records
    song_ids: list[str]
    first: np.ndarray
    length: np.ndarray
    times_R: np.ndarray
    shape: tuple[int, int]
    statistics_path: Path
    targets: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, builder: SongBuilder, song_ids: Collection[str]) -> "StreamedSongs":
        """Songs of a built data set.

        Args:
          song_ids: some of those that the manifest lists, in this order.

        Raises:
          CorpusError: see `Records`.
        """
        records = Records(builder)
        first, length = layout(builder, song_ids)
        times_R = np.concatenate([records.times(song_id) for song_id in song_ids])
        features = builder.features
        shape = features.frames_per_segment, features.n_mels
        songs = json.dumps([builder.info.metadata["shards"], list(song_ids)], sort_keys=True)
        digest = hashlib.sha256(songs.encode()).hexdigest()[:16]
        path = Path(builder.data_dir, f".mel_statistics-{digest}.json")
        return cls(records, list(song_ids), first, length, times_R, shape, path)

    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        return {
            "log_mel": (self.shape, np.dtype(np.float16)),
            "labels": ((2,), np.dtype(np.float32)),
            "label_mask": ((2,), np.dtype(bool)),
            **{name: (array.shape[1:], array.dtype) for name, array in self.targets.items()},
        }

    def copy_segments(self, row: int, n: int, into: Mapping[str, np.ndarray]) -> None:
        """As in the base class.

        Raises:
          CorpusError: a record is damaged.
        """
        song = int(np.searchsorted(self.first, row, "right")) - 1
        start = row - int(self.first[song])
        for record in range(start // RECORD_SEGMENTS, n_records_of(start + n)):
            example = self.records.read(self.song_ids[song], record)
            offset = record * RECORD_SEGMENTS - start
            wanted = slice(max(-offset, 0), n - offset)
            for name, of_record in _NAMES.items():
                values = example[of_record][wanted]
                into[name][max(offset, 0) :][: len(values)] = values
        for name, array in self.targets.items():
            into[name][:n] = array[row : row + n]

    def __iter__(self) -> Iterator[Song]:
        """Reads a few songs ahead."""
        # Its threads end when nothing refers to it any more.
        pool = concurrent.futures.ThreadPoolExecutor(THREADS)
        ahead: collections.deque[tuple[str, list[concurrent.futures.Future]]] = collections.deque()
        try:
            for song_id, n in zip(self.song_ids, self.length, strict=True):
                records = range(n_records_of(int(n)))
                parts = [pool.submit(self.records.read, song_id, k) for k in records]
                ahead.append((song_id, parts))
                if len(ahead) > _SONGS_AHEAD:
                    yield _joined(*ahead.popleft())
            while ahead:
                yield _joined(*ahead.popleft())
        finally:
            for part in itertools.chain.from_iterable(parts for _, parts in ahead):
                part.cancel()

    def mel_statistics(self) -> dict[str, np.ndarray]:
        statistics = _read_statistics(self.statistics_path, self.shape[1])
        if statistics is None:
            statistics = super().mel_statistics()
            _write_statistics(self.statistics_path, statistics)
        return statistics


def _joined(song_id: str, parts: list[concurrent.futures.Future]) -> Song:
    """The song of these records, once they are read."""
    examples = [part.result() for part in parts]
    names = "log_mel", "labels", "mask", "times"
    return Song(song_id, *(np.concatenate([x[name] for x in examples]) for name in names))


def _write_statistics(path: Path, statistics: Mapping[str, np.ndarray]) -> None:
    # The text of a float64 is exact.
    values = {name: x.tolist() for name, x in statistics.items()}
    # In a folder that is read-only they are computed every time.
    with contextlib.suppress(OSError), atomic_write(path) as file:
        json.dump({**values, "sha256": _digest(values)}, file)


def _read_statistics(path: Path, n_mels: int) -> dict[str, np.ndarray] | None:
    """What was written; None if it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("sha256") != _digest(values):
            return None
        statistics = {name: np.array(values[name], np.float64) for name in ("mean", "std")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return statistics if all(x.shape == (n_mels,) for x in statistics.values()) else None


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
