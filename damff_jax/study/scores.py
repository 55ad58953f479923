"""Scores of a system over all folds and seeds, from the predictions of its runs.

The folds' test songs together are all songs, each once, so a seed has curves of all songs, and its
scores are computed over all of them. Letters: N segments, S seeds, G groups of songs, V = 2.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from damff_jax.evaluation import bootstrap, metrics
from damff_jax.study import StudyError

_RESAMPLES = 5000


def merge(folds: Sequence[Mapping[str, metrics.Curve]]) -> dict[str, metrics.Curve]:
    """The curves of all folds together.

    Raises:
      StudyError: a song is in the test split of two folds.
    """
    merged: dict[str, metrics.Curve] = {}
    for curves in folds:
        if twice := merged.keys() & curves.keys():
            raise StudyError(f"song {min(twice)} is a test song in two folds")
        merged |= curves
    return merged


@dataclasses.dataclass(frozen=True)
class Interval:
    """A difference of pooled CCCs, and the ends of its 95 % bootstrap interval."""

    difference: float
    low: float
    high: float


def mean_and_std(summaries: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """{flat name of a score: [mean, sample standard deviation]} over the seeds' summaries."""
    flat = [metrics.flatten(summary) for summary in summaries]
    result = {}
    for name in flat[0]:
        values = np.array([scores[name] for scores in flat])
        result[name] = [float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0]
    return result


def paired_intervals(
    ours: Sequence[Mapping[str, metrics.Curve]],
    reference: Sequence[Mapping[str, metrics.Curve]],
    group_of: Mapping[str, str],
    *,
    seed: int = 0,
) -> dict[str, Interval]:
    """How much higher a system's pooled CCC is than the reference's, by dimension.

    The CCC of a system is the mean over its seeds. For 5,000 resamples, groups of songs are drawn
    with replacement, the same for both systems, and each system's seeds are drawn independently;
    the interval is that of percentiles. With few seeds, resamples vary less than new seeds would
    (with three, the spread is 0.82 of it), and with one not at all.

    Args:
      ours, reference: curves by song, one mapping per seed, all with the same songs.
      group_of: {song: group}.

    Raises:
      StudyError: the systems were scored on different songs.
    """
    songs = set(reference[0])
    for curves in (*ours, *reference):
        if different := songs ^ set(curves):
            raise StudyError(
                f"the systems compared were tested on different songs: {min(different)}"
            )
    groups = sorted({group_of[song] for song in songs})
    rng = np.random.default_rng(seed)
    times_RxG = bootstrap.resamples(len(groups), _RESAMPLES, rng=rng)
    intervals = {}
    for v, name in enumerate(metrics.DIMENSIONS):
        ccc_R, reference_R = (
            _over_seeds(
                [times_ccc(curves, groups, group_of, v, times_RxG) for curves in seeds], rng
            )
            for seeds in (ours, reference)
        )
        difference_R = ccc_R - reference_R
        low, high = np.percentile(difference_R[1:], [2.5, 97.5])
        intervals[name] = Interval(float(difference_R[0]), float(low), float(high))
    return intervals


def _over_seeds(of_seeds: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The mean (R,) over all seeds in the first sample, and over drawn seeds in the others."""
    ccc_SxR = np.array(of_seeds)
    drawn_SxR = rng.integers(len(of_seeds), size=ccc_SxR.shape)
    drawn_SxR[:, 0] = np.arange(len(of_seeds))
    return np.take_along_axis(ccc_SxR, drawn_SxR, axis=0).mean(axis=0)


def times_ccc(
    curves: Mapping[str, metrics.Curve],
    groups: Sequence[str],
    group_of: Mapping[str, str],
    v: int,
    times_RxG: np.ndarray,
) -> np.ndarray:
    """Pooled CCC (R,) of R samples; `times_RxG` is how often each group is in each sample."""
    sums_Gx6 = np.zeros((len(groups), 6))
    position = {group: g for g, group in enumerate(groups)}
    for song, curve in curves.items():
        rows = curve.mask_TxV[:, v]
        sums = bootstrap.sums_of(curve.prediction_TxV[rows, v], curve.truth_TxV[rows, v])
        sums_Gx6[position[group_of[song]]] += sums
    # A sample may have only groups without labels; it scores 0.
    return bootstrap.ccc(times_RxG @ sums_Gx6)
