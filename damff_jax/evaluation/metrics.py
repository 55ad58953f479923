"""Scores of predicted curves, in float64 on the host.

CCC, RMSE and Pearson's r, each computed in three ways:

- pooled: over all points of all songs. It depends almost entirely on how well the songs' levels are
  told apart; the primary score, because the literature reports it.
- per_song: the mean of the songs' own scores.
- within_song: pooled after each song's mean is subtracted from its truth and its prediction, so
  that only the movement within songs counts.

A constant series has no correlation: it scores 0, never NaN, and is never left out. Letters:
T segments, V = 2 (valence, arousal).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

DIMENSIONS = ("valence", "arousal")


class Curve(NamedTuple):
    """A song's prediction, truth (both (T, V)) and where there is truth (bool, (T, V))."""

    prediction_TxV: np.ndarray
    truth_TxV: np.ndarray
    mask_TxV: np.ndarray


def ccc(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Lin's concordance correlation coefficient of two series (n,), n ≥ 1.

    2 cov / (var + var + (difference of means)²) with population moments; Lin, "A concordance
    correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.
    """
    x, y = _pair(prediction, truth)
    if _is_constant(x) or _is_constant(y):
        return 0.0
    # Squares of very small numbers would underflow.
    scale = max(np.abs(x).max(), np.abs(y).max())
    x, y = x / scale, y / scale
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def pearson(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Pearson's correlation coefficient of two series (n,), n ≥ 1."""
    x, y = _pair(prediction, truth)
    if _is_constant(x) or _is_constant(y):
        return 0.0
    x, y = (z / np.abs(z).max() for z in (x - x.mean(), y - y.mean()))
    return float(np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y)))


def rmse(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Root of the mean squared error of two series (n,), n ≥ 1."""
    x, y = _pair(prediction, truth)
    return float(np.sqrt(np.mean((x - y) ** 2)))


_SCORES = {"ccc": ccc, "rmse": rmse, "pearson": pearson}


def summarize(curves: Mapping[str, Curve]) -> dict[str, Any]:
    """Scores of a split's curves, by song id.

    Returns:
      {"n_songs", "n_points", "valence": {"pooled": {"ccc", "rmse", "pearson"}, "per_song": {...},
      "within_song": {...}}, "arousal": {...}}. n_points counts segments with any label.

    Raises:
      ValueError: one of the dimensions has no labels at all.
    """
    summary: dict[str, Any] = {
        "n_songs": len(curves),
        "n_points": int(sum(np.any(curve.mask_TxV, axis=1).sum() for curve in curves.values())),
    }
    for v, name in enumerate(DIMENSIONS):
        pairs = [
            _pair(curve.prediction_TxV[rows, v], curve.truth_TxV[rows, v])
            for curve in curves.values()
            if (rows := curve.mask_TxV[:, v]).any()
        ]
        if not pairs:
            raise ValueError(f"no {name} labels to score against")
        centred = [(_centre(x), _centre(y)) for x, y in pairs]
        summary[name] = {
            "pooled": _scores(*map(np.concatenate, zip(*pairs, strict=True))),
            "per_song": {
                score: float(np.mean([function(x, y) for x, y in pairs]))
                for score, function in _SCORES.items()
            },
            "within_song": _scores(*map(np.concatenate, zip(*centred, strict=True))),
        }
    return summary


def flatten(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flat names for logs: `arousal/ccc` for a pooled score, otherwise `arousal/per_song/ccc`."""
    flat: dict[str, float] = {}
    for name in DIMENSIONS:
        for way, scores in summary[name].items():
            middle = "" if way == "pooled" else f"{way}/"
            flat |= {f"{prefix}{name}/{middle}{score}": x for score, x in scores.items()}
    return flat


def _scores(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    return {name: function(x, y) for name, function in _SCORES.items()}


def _pair(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"expected two series of equal length, not {x.shape} and {y.shape}")
    return x, y


def _is_constant(x: np.ndarray) -> bool:
    return bool(x.min() == x.max())


def _centre(x: np.ndarray) -> np.ndarray:
    # A constant minus its mean is rounding error, which would correlate with anything.
    return np.zeros_like(x) if _is_constant(x) else x - x.mean()


def format_summary(split: str, summary: Mapping[str, Any]) -> str:
    """A small table of a split's scores."""
    lines = [
        f"{split}: {summary['n_songs']} songs, {summary['n_points']} points",
        f"  {'':<10}{'pooled':^24}{'per song':^24}{'within song':^24}",
        f"  {'':<10}" + f"{'CCC':>7}{'RMSE':>8}{'r':>7}  " * 3,
    ]
    for name in DIMENSIONS:
        cells = (
            f"{s['ccc']:7.3f}{s['rmse']:8.3f}{s['pearson']:7.3f}  "
            for way in ("pooled", "per_song", "within_song")
            if (s := summary[name][way])
        )
        lines.append(f"  {name:<10}" + "".join(cells))
    return "\n".join(lines)
