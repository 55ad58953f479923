import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from damff_jax.evaluation import metrics
from damff_jax.evaluation.metrics import Curve


def test_ccc_of_a_worked_example():
    # x = 1 2 3 4, y = 2 2 4 6: means 2.5 and 3.5, variances 1.25 and 2.75, covariance 1.75.
    assert metrics.ccc([1, 2, 3, 4], [2, 2, 4, 6]) == pytest.approx(3.5 / (1.25 + 2.75 + 1), 1e-15)


def test_pearson_equals_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200))
    assert metrics.pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-14)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=30))
@example([(0.0, 0.0), (8.5e-283, 2.2e-309)])
@example([(0.0, 0.0), (1.0, 8.5e-283)])
@example([(0.0, 0.0), (5e-324, 5e-324)])
def test_scores_are_finite_bounded_and_symmetric(pairs):
    x, y = np.array(pairs).T
    ccc, r = metrics.ccc(x, y), metrics.pearson(x, y)
    assert abs(ccc) <= abs(r) + 1e-9
    assert abs(r) <= 1 + 1e-9
    assert ccc == pytest.approx(metrics.ccc(y, x), abs=1e-12)


@pytest.mark.parametrize("score", [metrics.ccc, metrics.pearson])
@pytest.mark.parametrize("constant", [0.1, 1 / 3, 0.0])
def test_a_constant_series_scores_zero(score, constant):
    assert score(np.full(7, constant), np.arange(7.0)) == 0
    assert score(np.arange(7.0), np.full(7, constant)) == 0
    assert score(np.full(7, constant), np.full(7, constant)) == 0


def test_unequal_or_empty_series_are_refused():
    with pytest.raises(ValueError, match="equal length"):
        metrics.rmse([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="equal length"):
        metrics.ccc([], [])


def curves():
    rng = np.random.default_rng(1)
    result = {}
    for song, n in (("a", 10), ("b", 25), ("c", 1)):
        truth = rng.uniform(-1, 1, (n, 2))
        result[song] = Curve(truth + rng.normal(0, 0.3, (n, 2)), truth, rng.random((n, 2)) > 0.2)
    result["c"] = result["c"]._replace(mask_TxV=np.array([[True, False]]))
    return result


@pytest.mark.parametrize(("v", "name"), list(enumerate(metrics.DIMENSIONS)))
def test_the_three_ways_of_averaging(v, name):
    summary = metrics.summarize(curves())
    pairs = [
        (c.prediction_TxV[c.mask_TxV[:, v], v], c.truth_TxV[c.mask_TxV[:, v], v])
        for c in curves().values()
        if c.mask_TxV[:, v].any()
    ]
    x, y = (np.concatenate(part) for part in zip(*pairs, strict=True))
    assert summary[name]["pooled"]["ccc"] == pytest.approx(metrics.ccc(x, y))
    assert summary[name]["per_song"]["rmse"] == pytest.approx(
        np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in pairs])
    )
    x = np.concatenate([a - a.mean() for a, _ in pairs])
    y = np.concatenate([b - b.mean() for _, b in pairs])
    assert summary[name]["within_song"]["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_counts_are_of_songs_and_of_segments_with_a_label():
    summary = metrics.summarize(curves())
    assert summary["n_songs"] == 3
    want = sum(c.mask_TxV.any(axis=1).sum() for c in curves().values())
    assert summary["n_points"] == want


def test_a_prediction_that_is_each_songs_level_has_no_score_within_songs():
    rng = np.random.default_rng(2)
    songs = {}
    for i in range(5):
        truth = rng.uniform(-1, 1) + rng.normal(0, 0.01, (30, 2))
        level = np.tile(truth.mean(axis=0), (30, 1))
        songs[str(i)] = Curve(level, truth, np.ones((30, 2), bool))
    summary = metrics.summarize(songs)
    assert summary["arousal"]["pooled"]["ccc"] > 0.99
    assert summary["arousal"]["within_song"]["ccc"] == 0
    assert summary["arousal"]["per_song"]["ccc"] == 0


def test_a_split_without_any_label_is_refused():
    nothing = Curve(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2), bool))
    with pytest.raises(ValueError, match="no valence labels"):
        metrics.summarize({"a": nothing})


def test_flat_names():
    flat = metrics.flatten(metrics.summarize(curves()), "validation/")
    assert "validation/arousal/ccc" in flat
    assert "validation/valence/within_song/pearson" in flat
    assert len(flat) == 18
