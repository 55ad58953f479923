"""Songs with labels, for training and evaluation: one song, and all songs of a split.

Letters: T segments, R segments of all songs, F frames per segment, M Mel bins, V = 2.
"""

import abc
import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from damff_jax.features import SEGMENT_SECONDS

SPLITS = ("train", "validation", "test")
# Where songs are between their uses; auto: in memory if there is enough.
READING = ("auto", "memory", "stream")
# Segments whose statistics are computed together: few enough to stay in the cache.
_ROWS_PER_SUM = 32


@dataclasses.dataclass(frozen=True)
class Song:
    """A song over the span of its labels.

    Attributes:
      song_id: as in the label files.
      log_mel_TxFxM: float16, dB.
      labels_TxV: float32, valence and arousal; 0 where the mask is false.
      mask_TxV: bool, where there is a label.
      times_T: float32, the segments' starts in seconds.
    """

    song_id: str
    log_mel_TxFxM: np.ndarray
    labels_TxV: np.ndarray
    mask_TxV: np.ndarray
    times_T: np.ndarray


class LabelledSongs(abc.ABC):
    """All songs of a split, in memory or not; their segments (R in total) have a common numbering.

    Attributes:
      song_ids: in natural order.
      first, length: int64 per song, where its segments are.
      times_R: the segments' starts in seconds, float32.
    """

    song_ids: list[str]
    first: np.ndarray
    length: np.ndarray
    times_R: np.ndarray

    @abc.abstractmethod
    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """What a batch has for every segment: shapes and types, by name."""

    @abc.abstractmethod
    def copy_segments(self, row: int, n: int, into: Mapping[str, np.ndarray]) -> None:
        """Copies segments of one song to the beginning of arrays; several threads may call it.

        Args:
          row: the first one's number.
          n: how many.
          into: an array (n or more, ...) for every name of `layout`.
        """

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Song]:
        """The songs in their order."""

    def __len__(self) -> int:
        return len(self.song_ids)

    @property
    def segment_shape(self) -> tuple[int, int]:
        """(F, M)."""
        f, m = self.layout()["log_mel"][0]
        return f, m

    def times(self) -> dict[str, np.ndarray]:
        """The segments' starts in seconds (T,), by song id."""
        parts = np.split(self.times_R, self.first[1:])
        return dict(zip(self.song_ids, parts, strict=True))

    def seconds(self) -> tuple[float, float]:
        """The span of all songs, from the earliest segment's start to the latest one's end."""
        return float(self.times_R.min()), float(self.times_R.max()) + SEGMENT_SECONDS

    def mel_statistics(self) -> dict[str, np.ndarray]:
        """`mean` and `std` (M,) of every Mel bin over all frames, in dB, float64.

        A constant bin gets the standard deviation 1.
        """
        return _mel_statistics(song.log_mel_TxFxM for song in self)


@dataclasses.dataclass(frozen=True)
class Songs(LabelledSongs):
    """All songs of a split in memory; the segments of all songs are joined in each array.

    Attributes:
      targets: more arrays (R, ...) for training, cut into crops too, by their name in a batch.
    """

    song_ids: list[str]
    first: np.ndarray
    length: np.ndarray
    log_mel_RxFxM: np.ndarray
    labels_RxV: np.ndarray
    mask_RxV: np.ndarray
    times_R: np.ndarray
    targets: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that crops are cut from, by their name in a batch."""
        return {
            "log_mel": self.log_mel_RxFxM,
            "labels": self.labels_RxV,
            "label_mask": self.mask_RxV,
            **self.targets,
        }

    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        return {name: (array.shape[1:], array.dtype) for name, array in self.arrays().items()}

    def copy_segments(self, row: int, n: int, into: Mapping[str, np.ndarray]) -> None:
        for name, array in self.arrays().items():
            into[name][:n] = array[row : row + n]

    def mel_statistics(self) -> dict[str, np.ndarray]:
        return _mel_statistics([self.log_mel_RxFxM])

    def __iter__(self) -> Iterator[Song]:
        for song_id, first, length in zip(self.song_ids, self.first, self.length, strict=True):
            rows = slice(first, first + length)
            yield Song(
                song_id,
                self.log_mel_RxFxM[rows],
                self.labels_RxV[rows],
                self.mask_RxV[rows],
                self.times_R[rows],
            )


def _mel_statistics(arrays: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """See `LabelledSongs.mel_statistics`; bit for bit the same wherever the arrays are divided."""
    n, sum_M, sum_of_squares_M = 0, np.zeros(()), np.zeros(())
    for rows_RxFxM in _in_blocks(arrays, _ROWS_PER_SUM):
        frames = rows_RxFxM.reshape(-1, rows_RxFxM.shape[-1]).astype(np.float64)
        n += len(frames)
        sum_M = sum_M + frames.sum(axis=0)
        sum_of_squares_M = sum_of_squares_M + np.square(frames).sum(axis=0)
    mean_M = sum_M / n
    var_M = np.maximum(sum_of_squares_M / n - mean_M**2, 0.0)
    return {"mean": mean_M, "std": np.where(var_M > 1e-6, np.sqrt(np.maximum(var_M, 1e-6)), 1)}


def _in_blocks(arrays: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The rows of all arrays in blocks of `size`, wherever one array ends; the last is shorter."""
    rest: np.ndarray | None = None
    for array in arrays:
        rows = array if rest is None else np.concatenate([rest, array])
        whole = len(rows) - len(rows) % size
        for start in range(0, whole, size):
            yield rows[start : start + size]
        rest = rows[whole:]
    if rest is not None and len(rest):
        yield rest
