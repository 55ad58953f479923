"""Where ratings are expected around a curve: the errors on songs that a model was not trained on.

How far ratings are from predictions depends on the prediction: where a curve is high, most ratings
are lower. So the errors are sorted by the prediction, and for each part of them two quantiles are
kept; between the parts they are interpolated. This is split conformal prediction with the level of
the prediction as its condition; V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random
World", 2005. Not from the paper.

Letters: T segments, V = 2 (valence, arousal), K parts, N points.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS, Curve

# The share of ratings that a band is meant to hold.
LEVEL = 0.8
_PARTS = 5
# Errors within a song are alike, so it is songs that count.
_SONGS_PER_PART = 20
# Of the songs, for checking the coverage: each part by a band from the others.
_FOLDS = 10


@dataclasses.dataclass(frozen=True)
class Errors:
    """Quantiles of a model's errors by the level of its prediction.

    Attributes:
      level: the share of ratings that the band is meant to hold.
      n_songs: by which it was calibrated.
      prediction_VxK: mean prediction of each part, ascending.
      low_VxK, high_VxK: quantiles of rating − prediction.
    """

    level: float
    n_songs: int
    prediction_VxK: np.ndarray
    low_VxK: np.ndarray
    high_VxK: np.ndarray

    @classmethod
    def of_curves(cls, curves: Sequence[Curve], level: float = LEVEL) -> "Errors | None":
        """The errors on songs with ratings that the model was not trained on.

        Returns None for fewer than 20 songs, or if a dimension has too few ratings.
        """
        n_parts = min(_PARTS, len(curves) // _SONGS_PER_PART)
        if not n_parts:
            return None
        tables = []
        for v in range(len(DIMENSIONS)):
            prediction_N, truth_N = _points(curves, v)
            if len(truth_N) < n_parts * _SONGS_PER_PART:
                return None
            tables.append(_table(prediction_N, truth_N - prediction_N, n_parts, level))
        prediction_VxK, low_VxK, high_VxK = np.stack(tables, axis=1)
        return cls(level, len(curves), prediction_VxK, low_VxK, high_VxK)

    def limits(self, curve_TxV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper limit around a curve, each (T, V) float32 in [-1, 1]."""
        return self._limit(curve_TxV, self.low_VxK), self._limit(curve_TxV, self.high_VxK)

    def _limit(self, curve_TxV: np.ndarray, error_VxK: np.ndarray) -> np.ndarray:
        columns = zip(curve_TxV.T, self.prediction_VxK, error_VxK, strict=True)
        limit_TxV = np.stack([x_T + np.interp(x_T, *table) for x_T, *table in columns], axis=1)
        return np.clip(limit_TxV, -1, 1).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """The table as JSON, with four digits after the point."""
        arrays = {"prediction": self.prediction_VxK, "low": self.low_VxK, "high": self.high_VxK}
        return {
            "level": self.level,
            "n_songs": self.n_songs,
            **{
                name: {kind: x_VxK[v].round(4).tolist() for kind, x_VxK in arrays.items()}
                for v, name in enumerate(DIMENSIONS)
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Errors":
        """Reads what `to_json` returned.

        Raises:
          ValueError: it is something else.
        """
        try:
            arrays = [
                np.array([values[name][kind] for name in DIMENSIONS], np.float64)
                for kind in ("prediction", "low", "high")
            ]
            errors = cls(float(values["level"]), int(values["n_songs"]), *arrays)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"not the errors of a model ({error!r})") from error
        shapes = {x_VxK.shape for x_VxK in arrays}
        if len(shapes) > 1 or arrays[0].ndim != 2 or not np.all(np.isfinite(arrays)):
            raise ValueError("not the errors of a model (not numbers, or not as many of each)")
        if not 0 < errors.level < 1 or np.any(np.diff(arrays[0]) < 0):
            raise ValueError("not the errors of a model (out of range, or not sorted)")
        return errors


class Coverage(NamedTuple):
    """How a band fits songs by which it was not calibrated.

    Attributes:
      share: of the ratings that are inside.
      share_by_part: the same for each part of the points, sorted by their prediction, (K,).
      width: mean distance of the limits.
    """

    share: float
    share_by_part: np.ndarray
    width: float


def coverage(
    curves: Mapping[str, Curve], others: Mapping[str, Curve] | None = None
) -> dict[str, Coverage] | None:
    """How bands fit songs by which they were not calibrated, by dimension; None for too few songs.

    Args:
      curves: songs to calibrate by.
      others: songs to compare with a band calibrated by all of those. Otherwise those are divided
        into ten, and each tenth is compared with a band calibrated by the others.
    """
    songs = list(curves.values())
    checked, bands = [], []
    for fold in range(_FOLDS if others is None else 1):
        left_out = songs[fold::_FOLDS] if others is None else list(others.values())
        kept = [x for i, x in enumerate(songs) if others is not None or i % _FOLDS != fold]
        errors = Errors.of_curves(kept)
        if errors is None:
            return None
        checked += left_out
        bands += [errors.limits(song.prediction_TxV) for song in left_out]
    return {name: _coverage(checked, bands, v) for v, name in enumerate(DIMENSIONS)}


def _coverage(
    songs: Sequence[Curve], bands: Sequence[tuple[np.ndarray, np.ndarray]], v: int
) -> Coverage:
    prediction_N, truth_N = _points(songs, v)
    low_N, high_N = (
        np.concatenate(
            [band[i][song.mask_TxV[:, v], v] for song, band in zip(songs, bands, strict=True)]
        )
        for i in range(2)
    )
    inside_N = (low_N <= truth_N) & (truth_N <= high_N)
    parts = np.array_split(inside_N[np.argsort(prediction_N, kind="stable")], _PARTS)
    shares = np.array([part.mean() for part in parts])
    return Coverage(float(inside_N.mean()), shares, float((high_N - low_N).mean()))


def _points(curves: Iterable[Curve], v: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and ratings of a dimension where there are ratings, of all songs, each (N,)."""
    pairs = [(curve.prediction_TxV, curve.truth_TxV, curve.mask_TxV[:, v]) for curve in curves]
    prediction_N = np.concatenate([prediction[mask, v] for prediction, _, mask in pairs])
    truth_N = np.concatenate([truth[mask, v] for _, truth, mask in pairs])
    return prediction_N.astype(np.float64), truth_N.astype(np.float64)


def _table(prediction_N: np.ndarray, error_N: np.ndarray, n_parts: int, level: float) -> np.ndarray:
    """Mean prediction and the two quantiles of each part, (3, K)."""
    parts = np.array_split(np.argsort(prediction_N, kind="stable"), n_parts)
    tails = [(1 - level) / 2, (1 + level) / 2]
    rows = [(prediction_N[i].mean(), *np.quantile(error_N[i], tails)) for i in parts]
    return np.array(rows).T
