"""Bootstrap intervals of scores over songs, from sums that are additive over songs.

Resampling songs (not points, which within a song are alike) says how much a score would vary with
other songs of the same kind. A score of a resample needs only sums over songs, so thousands of
resamples take milliseconds. Letters: R resamples, G groups of songs, N points.
"""

import numpy as np


def sums_of(prediction_N: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """n, Σx, Σy, Σx², Σy², Σxy of points; (6,), float64."""
    # Differences of sums of squares need float64.
    x, y = (z.astype(np.float64) for z in (prediction_N, truth_N))
    return np.array([len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def resamples(n_groups: int, n: int, *, rng: np.random.Generator) -> np.ndarray:
    """How often each group is in each resample, (1 + n, G); in the first, each is once."""
    draws = rng.integers(n_groups, size=(n, n_groups))
    times_RxG = np.stack([np.bincount(draw, minlength=n_groups) for draw in draws])
    return np.concatenate([np.ones((1, n_groups), int), times_RxG])


def ccc(sums_Rx6: np.ndarray) -> np.ndarray:
    """Pooled CCC (R,); 0 for a constant, and without points."""
    n, x, y, xx, yy, xy = sums_Rx6.T
    n = np.maximum(n, 1)
    mean_x, mean_y = x / n, y / n
    covariance = xy / n - mean_x * mean_y
    spread = xx / n - mean_x**2 + yy / n - mean_y**2 + (mean_x - mean_y) ** 2
    # A constant's variance and covariances are only rounding errors here.
    return np.where(spread > 1e-12, 2 * covariance / np.maximum(spread, 1e-12), 0.0)


def rmse(sums_Rx6: np.ndarray) -> np.ndarray:
    """Root of the mean squared error (R,); 0 without points."""
    n, _, _, xx, yy, xy = sums_Rx6.T
    return np.sqrt(np.maximum(xx - 2 * xy + yy, 0.0) / np.maximum(n, 1))
