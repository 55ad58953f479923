"""Songs with labels, for training and evaluation: one song, and all songs of a split.

Letters: T segments, R segments of all songs, F frames per segment, M Mel bins, V = 2.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from damff_jax.features import SEGMENT_SECONDS

SPLITS = ("train", "validation", "test")
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


@dataclasses.dataclass(frozen=True)
class Songs:
    """All songs of a split; the segments of all songs (R in total) are joined in each array.

    Attributes:
      song_ids: in natural order.
      first, length: int64 per song, where its segments are.
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

    def __len__(self) -> int:
        return len(self.song_ids)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that crops are cut from, by their name in a batch."""
        return {
            "log_mel": self.log_mel_RxFxM,
            "labels": self.labels_RxV,
            "label_mask": self.mask_RxV,
            **self.targets,
        }

    def seconds(self) -> tuple[float, float]:
        """The span of all songs, from the earliest segment's start to the latest one's end."""
        return float(self.times_R.min()), float(self.times_R.max()) + SEGMENT_SECONDS

    def mel_statistics(self) -> dict[str, np.ndarray]:
        """`mean` and `std` (M,) of every Mel bin over all frames, in dB, float64.

        A constant bin gets the standard deviation 1.
        """
        n, zeros_M = 0, np.zeros(self.log_mel_RxFxM.shape[-1])
        sum_M, sum_of_squares_M = zeros_M, zeros_M
        for start in range(0, len(self.log_mel_RxFxM), _ROWS_PER_SUM):
            rows_RxFxM = self.log_mel_RxFxM[start : start + _ROWS_PER_SUM]
            frames = rows_RxFxM.reshape(-1, rows_RxFxM.shape[-1]).astype(np.float64)
            n += len(frames)
            sum_M = sum_M + frames.sum(axis=0)
            sum_of_squares_M = sum_of_squares_M + np.square(frames).sum(axis=0)
        mean_M = sum_M / n
        var_M = np.maximum(sum_of_squares_M / n - mean_M**2, 0.0)
        return {"mean": mean_M, "std": np.where(var_M > 1e-6, np.sqrt(np.maximum(var_M, 1e-6)), 1)}

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
