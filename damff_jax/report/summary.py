"""What a song's curve comes to: means, ranges, its extreme moments, shares of the quadrants."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.report.quadrants import QUADRANTS


@dataclasses.dataclass(frozen=True)
class Range:
    """One dimension of a curve.

    Attributes:
      mean, low, high: in [-1, 1].
      low_s, high_s: the starts of the segments of the lowest and the highest value.
    """

    mean: float
    low: float
    high: float
    low_s: float
    high_s: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """A curve in a few numbers.

    Attributes:
      ranges: by dimension.
      shares: of the time, by quadrant, see `QUADRANTS`; their sum is 1.
    """

    ranges: Mapping[str, Range]
    shares: Mapping[str, float]

    @classmethod
    def of(cls, times_T: np.ndarray, curve_TxV: np.ndarray) -> "Summary":
        """The summary of a curve of one or more segments; times are the segments' starts."""
        ranges = {}
        for v, name in enumerate(DIMENSIONS):
            x_T = curve_TxV[:, v]
            low, high = int(x_T.argmin()), int(x_T.argmax())
            ranges[name] = Range(
                float(x_T.mean()),
                float(x_T[low]),
                float(x_T[high]),
                float(times_T[low]),
                float(times_T[high]),
            )
        positive_TxV = curve_TxV >= 0
        shares = {
            words: float((positive_TxV == signs).all(axis=1).mean())
            for words, signs in QUADRANTS.items()
        }
        return cls(ranges, shares)
