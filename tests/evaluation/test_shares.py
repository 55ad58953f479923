"""Shares of a split's songs are the split again, whatever their number."""

import numpy as np
import pytest

from damff_jax.evaluation import shares
from damff_jax.evaluation.metrics import Curve
from damff_jax.evaluation.shares import Share, SplitCurves
from damff_jax.songs import Songs


def split(n_songs):
    rng = np.random.default_rng(0)
    curves, times = {}, {}
    for i in range(n_songs):
        t = 3 + i
        values = rng.uniform(-1, 1, (2, t, 2)).astype(np.float32)
        curves[f"song {i}"] = Curve(*values, rng.random((t, 2)) > 0.2)
        times[f"song {i}"] = np.float32(15 + 0.5 * np.arange(t))
    return SplitCurves(curves, times)


@pytest.mark.parametrize(("n_songs", "count"), [(5, 1), (5, 2), (6, 3), (2, 3), (1, 4)])
def test_the_packed_shares_of_all_processes_are_the_whole_split(n_songs, count):
    whole = split(n_songs)
    ids = list(whole.curves)
    parts = []
    for index in range(count):
        own = shares.of_process(ids, index, count)
        part = SplitCurves({i: whole.curves[i] for i in own}, {i: whole.times[i] for i in own})
        parts.append(shares.pack(part))
    again = shares.unpack(ids, parts)
    assert list(again.curves) == list(again.times) == ids
    for song_id in ids:
        np.testing.assert_array_equal(again.times[song_id], whole.times[song_id])
        for a, b in zip(again.curves[song_id], whole.curves[song_id], strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    assert again.seconds() == whole.seconds() == (15.0, 15.0 + 0.5 * (2 + n_songs))


def test_a_share_of_songs_in_memory_knows_the_longest_of_all():
    length = np.array([4, 9, 2])
    n = length.sum()
    songs = Songs(
        ["a", "b", "c"],
        np.cumsum(length) - length,
        length,
        np.zeros((n, 2, 3), np.float16),
        np.zeros((n, 2), np.float32),
        np.ones((n, 2), bool),
        np.zeros(n, np.float32),
    )
    share = Share.of(songs, 0, 2)
    assert (share.song_ids, share.longest) == (["a", "b", "c"], 9)
    assert [song.song_id for song in share.songs] == ["a", "c"]
    assert [song.song_id for song in Share.of(songs, 2, 4).songs] == ["c"]
