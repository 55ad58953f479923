"""A process's share of a split's songs, so that several processes evaluate the split together."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from damff_jax.evaluation.metrics import Curve
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.songs import LabelledSongs, Song

# Arrays of all songs of a share, one song after the other.
Packed = Mapping[str, np.ndarray]


def of_process(items: Sequence[Any], index: int, count: int) -> Sequence[Any]:
    """The items of process `index` of `count`: every `count`-th."""
    return items[index::count]


class Share(NamedTuple):
    """A process's songs of a split.

    Attributes:
      song_ids: all songs of the split, in their order.
      longest: segments of the longest song of the split.
      songs: those of this process.
    """

    song_ids: Sequence[str]
    longest: int
    songs: Iterable[Song]

    @classmethod
    def of(cls, songs: LabelledSongs, index: int = 0, count: int = 1) -> "Share":
        """A share of songs that every process has."""
        own = itertools.islice(songs, index, None, count) if count > 1 else songs
        return cls(songs.song_ids, int(songs.length.max()), own)


class SplitCurves(NamedTuple):
    """Curves of a split's songs, and the starts of their segments in seconds (T,), by song id."""

    curves: dict[str, Curve]
    times: dict[str, np.ndarray]

    def seconds(self) -> tuple[float, float]:
        """The span of all songs, from the earliest segment's start to the latest one's end."""
        all_times = self.times.values()
        end = max(float(times_T.max()) for times_T in all_times) + SEGMENT_SECONDS
        return min(float(times_T.min()) for times_T in all_times), end


def pack(part: SplitCurves) -> Packed:
    """The curves and times of a share as arrays, without the song ids."""
    curves = part.curves.values()
    return {
        "length": np.array([len(times_T) for times_T in part.times.values()], np.int64),
        "times": _joined(part.times.values(), (), np.float32),
        "prediction": _joined((c.prediction_TxV for c in curves), (2,), np.float32),
        "truth": _joined((c.truth_TxV for c in curves), (2,), np.float32),
        "mask": _joined((c.mask_TxV for c in curves), (2,), bool),
    }


def unpack(song_ids: Sequence[str], parts: Sequence[Packed]) -> SplitCurves:
    """The whole split from the packed shares of all processes, in the order of `song_ids`."""
    found: dict[str, tuple[Curve, np.ndarray]] = {}
    for index, part in enumerate(parts):
        ends = np.cumsum(part["length"])[:-1]
        arrays = (np.split(part[name], ends) for name in ("times", "prediction", "truth", "mask"))
        own = of_process(song_ids, index, len(parts))
        # Without songs, `split` still returns an empty part.
        for song_id, times_T, *curve in zip(own, *arrays, strict=len(own) > 0):
            found[song_id] = Curve(*curve), times_T
    return SplitCurves(
        {song_id: found[song_id][0] for song_id in song_ids},
        {song_id: found[song_id][1] for song_id in song_ids},
    )


def _joined(arrays: Iterable[np.ndarray], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.concatenate([np.zeros((0, *shape), dtype), *arrays]).astype(dtype, copy=False)
