"""How similar an input is to the songs that a model was trained on.

A model returns a curve for any input: noise, a sine tone, speech. So a profile of the training
songs is kept, by which inputs that are unlike them are detected. Not from the paper.

A window of 10 s of log-Mel is described by 13 statistics. Each is converted to a normal score by
its rank among the training songs. Two measures are computed from the scores. Their Mahalanobis
distance from the centre is large for noise, tones and silence; the mean of four of them is large
for speech, with its pauses and its change between vowels and consonants. The limits of both are
chosen so that 99.3 % of the training songs are below them, each compared with a profile of other
songs.

Letters: T segments, F frames per segment, M Mel bins, N frames, W windows, D statistics,
Q quantiles.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from statistics import NormalDist

import numpy as np

# Segments that are described together: 10 s.
WINDOW = 20
STATISTICS = (
    "level",  # dB, of the mean power
    "level_spread",
    "range",  # of the mean level over the bins: from its 5th percentile to its 95th
    "depth",  # from its 5th percentile to its median
    "persistence",  # autocorrelation of the bins' movement from frame to frame
    "mean_roughness",  # of the mean spectrum, between neighbouring bins
    "roughness",  # of the frames' spectra
    "centroid",  # of the power, in bins relative to their number
    "centroid_spread",
    "movement",  # of the bins about their means
    "flux",  # of the bins between frames
    "common_movement",  # share of the movement that all bins have in common
    "unevenness",  # of the rises over time
)
_SPEECH = tuple(map(STATISTICS.index, ("level_spread", "centroid", "centroid_spread", "flux")))
_SHARES_Q = np.linspace(0.005, 0.995, 41)
_SCORES_Q = np.array([NormalDist().inv_cdf(share) for share in _SHARES_Q])
# The quantiles from which the slope beyond the outermost one is computed.
_TAIL = 4
_SHARE_WITHIN = 0.993
_PARTS = 5
_MIN_WINDOWS = 100
_SHRINKAGE = 0.05


def statistics(log_mel_TxFxM: np.ndarray) -> np.ndarray:
    """Describes a window of log-Mel in dB, at least two frames; (D,), see `STATISTICS`.

    Statistics that span orders of magnitude are logarithms.
    """
    x_NxM = np.asarray(log_mel_TxFxM, np.float64).reshape(-1, log_mel_TxFxM.shape[-1])
    power_NxM = 10 ** (x_NxM / 10)
    level_N = 10 * np.log10(power_NxM.mean(axis=1))
    mean_level_N = x_NxM.mean(axis=1)
    low, middle, high = np.percentile(mean_level_N, [5, 50, 95])
    mean_M = x_NxM.mean(axis=0)
    movement_NxM = x_NxM - mean_M
    change_NxM = np.diff(x_NxM, axis=0)
    rise_N = np.maximum(change_NxM, 0).mean(axis=1)
    centroid_N = power_NxM @ np.linspace(0, 1, len(mean_M)) / power_NxM.sum(axis=1)
    products = (movement_NxM[1:] * movement_NxM[:-1]).sum()
    return np.array(
        [
            level_N.mean(),
            np.log(level_N.std() + 0.05),
            np.log(high - low + 0.1),
            np.log(middle - low + 0.1),
            products / ((movement_NxM**2).sum() + 1e-3),
            np.log(np.diff(mean_M).std() + 0.05),
            np.log(np.diff(x_NxM, axis=1).std(axis=1).mean() + 0.05),
            centroid_N.mean(),
            np.log(centroid_N.std() + 1e-3),
            np.log(movement_NxM.std() + 0.05),
            np.log(change_NxM.std() + 0.05),
            np.log((mean_level_N.std() + 0.05) / (movement_NxM.std() + 0.05)),
            np.log((rise_N.std() + 0.02) / (rise_N.mean() + 0.02)),
        ]
    )


@dataclasses.dataclass(frozen=True)
class Profile:
    """The distribution of the training songs' statistics.

    Attributes:
      quantiles_QxD: of the statistics over all windows, at shares from 0.005 to 0.995.
      whitening_DxD: makes the normal scores uncorrelated, with variance 1.
      limits: (2,), of the distance and of the speech measure.
    """

    quantiles_QxD: np.ndarray
    whitening_DxD: np.ndarray
    limits: np.ndarray

    @classmethod
    def of_songs(cls, songs: Iterable[np.ndarray]) -> "Profile | None":
        """The profile of songs (T, F, M) in dB; None if there are too few."""
        by_song = [np.array([statistics(x) for x in windows(song)]) for song in songs]
        by_song = [statistics_WxD for statistics_WxD in by_song if len(statistics_WxD)]
        if sum(map(len, by_song)) < _MIN_WINDOWS:
            return None
        measures = []
        for part in range(_PARTS):
            others = [song for i, song in enumerate(by_song) if i % _PARTS != part]
            profile = cls._without_limits(np.concatenate(others))
            measures += [profile._measures(song) for song in by_song[part::_PARTS]]
        profile = cls._without_limits(np.concatenate(by_song))
        limits = np.quantile(measures, _SHARE_WITHIN, axis=0)
        return dataclasses.replace(profile, limits=limits)

    @classmethod
    def _without_limits(cls, statistics_WxD: np.ndarray) -> "Profile":
        d = statistics_WxD.shape[1]
        profile = cls(np.quantile(statistics_WxD, _SHARES_Q, axis=0), np.eye(d), np.ones(2))
        cov_DxD = np.cov(profile._scores(statistics_WxD), rowvar=False)
        cov_DxD = (1 - _SHRINKAGE) * cov_DxD + _SHRINKAGE * np.eye(d)
        values_D, vectors_DxD = np.linalg.eigh(cov_DxD)
        return dataclasses.replace(profile, whitening_DxD=(vectors_DxD / np.sqrt(values_D)).T)

    def unlikeness(self, statistics_WxD: np.ndarray) -> float:
        """How far a song is from the training songs: above 1 it is unlike them; 0 without windows.

        Args:
          statistics_WxD: of the song's windows.
        """
        if not len(statistics_WxD):
            return 0.0
        return float(np.max(self._measures(np.asarray(statistics_WxD)) / self.limits))

    def _measures(self, statistics_WxD: np.ndarray) -> np.ndarray:
        """Both measures, averaged over a song's windows; (2,)."""
        scores_WxD = self._scores(statistics_WxD)
        distance_W = np.linalg.norm(scores_WxD @ self.whitening_DxD.T, axis=1)
        return np.array([distance_W.mean(), scores_WxD[:, _SPEECH].mean()])

    def _scores(self, statistics_WxD: np.ndarray) -> np.ndarray:
        """Normal scores (W, D), extrapolated linearly beyond the outermost quantiles."""
        columns = []
        for x_W, table_Q in zip(statistics_WxD.T, self.quantiles_QxD.T, strict=True):
            below, above = (
                (_SCORES_Q[right] - _SCORES_Q[left]) / max(table_Q[right] - table_Q[left], 1e-6)
                for left, right in ((0, _TAIL), (-1 - _TAIL, -1))
            )
            score_W = np.interp(x_W, table_Q, _SCORES_Q)
            score_W += below * np.minimum(x_W - table_Q[0], 0)
            score_W += above * np.maximum(x_W - table_Q[-1], 0)
            columns.append(score_W)
        return np.stack(columns, axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The profile as float32 arrays, to be stored with a model's weights."""
        return {
            "quantiles": self.quantiles_QxD.astype(np.float32),
            "whitening": self.whitening_DxD.astype(np.float32),
            "limits": self.limits.astype(np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Profile":
        """Reads what `arrays` returned.

        Raises:
          ValueError: the arrays are not a profile.
        """
        d = len(STATISTICS)
        shapes = {"quantiles": (len(_SHARES_Q), d), "whitening": (d, d), "limits": (2,)}
        found = {name: np.shape(array) for name, array in arrays.items()}
        if found != shapes or not all(np.isfinite(x).all() for x in arrays.values()):
            raise ValueError(f"not a profile of training songs: {found}")
        return cls(*(np.asarray(arrays[name], np.float64) for name in shapes))


class Listener:
    """Passes on a song's stream of segments, and computes the statistics of its windows."""

    def __init__(self):
        self._rest: np.ndarray | None = None
        self._statistics: list[np.ndarray] = []

    def hear(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the blocks (any number, F, M) in dB; memory does not grow with their number."""
        for block in blocks:
            yield block
            rest = block if self._rest is None else np.concatenate([self._rest, block])
            whole = len(rest) - len(rest) % WINDOW
            if whole:
                self._statistics += map(statistics, windows(rest[:whole]))
            self._rest = rest[whole:]

    def statistics(self) -> np.ndarray:
        """Statistics of all windows of 10 s, or of a shorter song as a whole; (W, D)."""
        if not self._statistics and self._rest is not None and len(self._rest):
            return np.array(list(map(statistics, windows(self._rest)))).reshape(-1, len(STATISTICS))
        return np.array(self._statistics).reshape(-1, len(STATISTICS))


def windows(log_mel_TxFxM: np.ndarray) -> list[np.ndarray]:
    """Consecutive windows of 10 s; a shorter song is one window, if it has two frames."""
    t, f, m = log_mel_TxFxM.shape
    n = t // WINDOW
    if n:
        return list(log_mel_TxFxM[: n * WINDOW].reshape(n, WINDOW, f, m))
    return [log_mel_TxFxM] if t * f >= 2 else []
