"""What the labels of songs are, in few numbers: for reports, and for the constant baseline."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS

# Cells of the plane, along each of its sides.
N_CELLS = 20


@dataclasses.dataclass(frozen=True)
class LabelSummary:
    """A song's labels: the time of the first segment in s, and per dimension (V,) how many there
    are, their mean and their standard deviation; NaN without labels.
    """

    first_s: float
    n_V: np.ndarray
    mean_V: np.ndarray
    std_V: np.ndarray

    @classmethod
    def of(cls, first_s: float, values_TxV: np.ndarray, mask_TxV: np.ndarray) -> "LabelSummary":
        columns = [values_TxV[mask_TxV[:, v], v].astype(float) for v in range(len(DIMENSIONS))]
        means = [column.mean() if len(column) else np.nan for column in columns]
        stds = [column.std() if len(column) else np.nan for column in columns]
        return cls(first_s, np.array([len(c) for c in columns]), np.array(means), np.array(stds))

    def to_json(self) -> list[Any]:
        """[first_s, n of valence, of arousal, means, standard deviations]; null without labels."""
        numbers = [*self.mean_V, *self.std_V]
        rounded = [None if np.isnan(x) else round(float(x), 7) for x in numbers]
        return [self.first_s, *(int(n) for n in self.n_V), *rounded]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "LabelSummary":
        """Raises ValueError or TypeError: not what `to_json` returns."""
        numbers = np.array([np.nan if x is None else float(x) for x in values])
        if numbers.shape != (7,):
            raise ValueError(f"expected 7 numbers, not {len(numbers)}")
        return cls(float(numbers[0]), numbers[1:3], numbers[3:5], numbers[5:7])


def mean_of(summaries: Iterable[LabelSummary]) -> np.ndarray:
    """The mean (V,) over all labels of songs; NaN for a dimension without labels."""
    summaries = list(summaries)
    n_SxV = np.array([summary.n_V for summary in summaries], float)
    sums_SxV = np.array([np.where(s.n_V > 0, s.n_V * s.mean_V, 0.0) for s in summaries])
    n_V = n_SxV.sum(axis=0)
    return np.where(n_V > 0, sums_SxV.sum(axis=0) / np.maximum(n_V, 1), np.nan)


def plane_counts(values_TxV: np.ndarray, mask_TxV: np.ndarray) -> np.ndarray:
    """How many segments with both labels are in each cell of the plane, int (N_CELLS, N_CELLS).

    The first axis is valence, the second arousal, both from −1 to 1.
    """
    values_NxV = values_TxV[mask_TxV.all(axis=1)]
    edges = np.linspace(-1, 1, N_CELLS + 1)
    valence_N, arousal_N = np.clip(values_NxV, -1, 1).T
    counts, _, _ = np.histogram2d(valence_N, arousal_N, bins=[edges, edges])
    return counts.astype(int)
