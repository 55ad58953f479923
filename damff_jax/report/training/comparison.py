"""Scores of a run and of baselines on the same songs, with bootstrap intervals over songs."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from damff_jax.evaluation import bootstrap
from damff_jax.evaluation.metrics import DIMENSIONS, Curve

N_RESAMPLES = 2000
# Of fewer songs a bootstrap says little, and mostly too much.
MIN_SONGS = 5
MEASURES = ("ccc", "rmse", "within_ccc")
_Scores = dict[tuple[str, str], np.ndarray]


class Estimate(NamedTuple):
    """A score or a difference, and its 95 % interval.

    Too few songs have none, nor has what is the same for any songs, as a constant's CCC.
    """

    value: float
    low: float | None
    high: float | None


class System(NamedTuple):
    """Scores by (dimension, measure), and how much higher those of the first system are."""

    scores: Mapping[tuple[str, str], Estimate]
    lead: Mapping[tuple[str, str], Estimate]


def compare(systems: Mapping[str, Mapping[str, Curve]]) -> dict[str, System]:
    """Scores of systems by name, and the first one's lead over each, resample by resample.

    Args:
      systems: curves by song, of the same songs.
    """
    songs = list(next(iter(systems.values())))
    rng = np.random.default_rng(0)
    times_RxS = bootstrap.resamples(len(songs), N_RESAMPLES, rng=rng)
    by_name = {
        name: _scores({song: curves[song] for song in songs}, times_RxS)
        for name, curves in systems.items()
    }
    first, n = next(iter(by_name.values())), len(songs)
    return {
        name: System(
            {key: _estimate(score_R, n) for key, score_R in scores.items()},
            {key: _estimate(first[key] - score_R, n) for key, score_R in scores.items()},
        )
        for name, scores in by_name.items()
    }


def constant(curves: Mapping[str, Curve], value_V: np.ndarray) -> dict[str, Curve]:
    """The same songs, predicted by one value (V,)."""
    return {
        song: curve._replace(prediction_TxV=np.broadcast_to(value_V, curve.truth_TxV.shape))
        for song, curve in curves.items()
    }


def _scores(curves: Mapping[str, Curve], times_RxS: np.ndarray) -> _Scores:
    scores: _Scores = {}
    for v, name in enumerate(DIMENSIONS):
        pairs = [
            (curve.prediction_TxV[rows, v], curve.truth_TxV[rows, v])
            for curve in curves.values()
            for rows in [curve.mask_TxV[:, v]]
        ]
        sums_Rx6 = times_RxS @ np.array([bootstrap.sums_of(x, y) for x, y in pairs])
        scores[name, "ccc"] = bootstrap.ccc(sums_Rx6)
        scores[name, "rmse"] = bootstrap.rmse(sums_Rx6)
        centred = [bootstrap.sums_of(_centred(x), _centred(y)) for x, y in pairs]
        scores[name, "within_ccc"] = bootstrap.ccc(times_RxS @ np.array(centred))
    return scores


def _centred(x_N: np.ndarray) -> np.ndarray:
    return x_N - np.mean(x_N, dtype=np.float64) if len(x_N) else x_N


def _estimate(score_R: np.ndarray, n_songs: int) -> Estimate:
    if n_songs < MIN_SONGS or np.ptp(score_R) < 1e-9:
        return Estimate(float(score_R[0]), None, None)
    low, high = np.percentile(score_R[1:], [2.5, 97.5])
    return Estimate(float(score_R[0]), float(low), float(high))
