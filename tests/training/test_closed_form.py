"""Closed-form solutions against plain numpy."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from damff_jax.evaluation.inference import Windowing, join_windows
from damff_jax.models.linear import Constant, Ridge
from damff_jax.training import closed_form

FRAMES, MELS = 4, 3
WINDOWS = (1, 3, 0)
STATS = {"mean": np.float32([-20, -30, -40]), "std": np.float32([5, 10, 7])}


def make_songs(lengths, seed=0):
    rng = np.random.default_rng(seed)
    songs = []
    for n in lengths:
        level = rng.normal(-30, 8, (n, 1, MELS)) + rng.normal(0, 3, (n, FRAMES, MELS))
        labels = 0.02 * level.mean(1)[:, :2] + rng.normal(0.7, 0.1, (n, 2))
        mask = rng.random((n, 2)) < [0.9, 0.6]
        songs.append(
            SimpleNamespace(
                log_mel_TxFxM=level.astype(np.float16),
                labels_TxV=np.where(mask, labels, 0).astype(np.float32),
                mask_TxV=mask,
            )
        )
    return songs


def solve(model, songs, windowing, *, validated=True):
    features = jax.jit(
        lambda x, mask: closed_form.feature_step({"input_stats": STATS}, x, mask, model=model)
    )
    return closed_form.solutions(
        model, features, songs, windowing=windowing, batch_size=2, validated=validated
    )


def predict(model, solution, songs, windowing):
    variables = {
        "params": solution.params,
        "batch_stats": solution.batch_stats,
        "input_stats": STATS,
    }
    apply = jax.jit(lambda x, mask: model.apply(variables, x, mask, train=False))
    streams = ([song.log_mel_TxFxM] for song in songs)
    return list(join_windows(apply, streams, windowing=windowing, batch_size=2))


def numpy_features(song):
    """Statistics of the frames around every segment, of a song that fits into one window."""
    x = (song.log_mel_TxFxM.astype(np.float64) - STATS["mean"]) / STATS["std"]
    rows = []
    for t in range(len(x)):
        row = []
        for window in WINDOWS:
            lo, hi = (0, len(x)) if not window else (max(t - window // 2, 0), t + window // 2 + 1)
            frames = x[lo:hi].reshape(-1, MELS)
            row += [frames.mean(0), frames.std(0)]
        rows.append(np.concatenate(row))
    return np.array(rows)


@pytest.fixture(scope="module")
def songs():
    return make_songs([9, 12, 5, 8])


def test_the_constant_is_the_mean_of_the_present_labels(songs):
    model = Constant(axis_name=None)
    (solution,) = solve(model, songs, Windowing(12, 3))
    labels = [
        np.concatenate([song.labels_TxV[song.mask_TxV[:, v], v] for song in songs]).mean()
        for v in range(2)
    ]
    for song, y in zip(songs, predict(model, solution, songs, Windowing(12, 3)), strict=True):
        expected = np.broadcast_to(labels, song.labels_TxV.shape)
        np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_ridge_against_the_normal_equations(songs):
    penalties = (0.01, 1.0, 30.0)
    model = Ridge(windows=WINDOWS, penalties=penalties, axis_name=None)
    windowing = Windowing(12, 3)
    found = solve(model, songs, windowing)
    assert [s.description for s in found] == ["penalty 0.01", "penalty 1", "penalty 30"]

    features = np.concatenate([numpy_features(song) for song in songs])
    labels = np.concatenate([song.labels_TxV for song in songs]).astype(np.float64)
    mask = np.concatenate([song.mask_TxV for song in songs])
    weight = mask.sum(1)
    mean = np.average(features, axis=0, weights=weight)
    std = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    x = np.hstack([(features - mean) / std, np.ones((len(features), 1))])
    for penalty, solution in zip(penalties, found, strict=True):
        y = np.concatenate(predict(model, solution, songs, windowing))
        for v in range(2):
            rows = x[mask[:, v]]
            # The intercept is not penalised.
            lhs = rows.T @ rows / len(rows) + penalty * np.diag([1.0] * (x.shape[1] - 1) + [0])
            rhs = rows.T @ labels[mask[:, v], v] / len(rows)
            expected = x @ np.linalg.solve(lhs, rhs)
            np.testing.assert_allclose(y[:, v], expected, rtol=1e-4, atol=1e-5)


def test_without_validation_there_is_one_solution(songs):
    model = Ridge(windows=(1,), penalty=3.0, axis_name=None)
    (solution,) = solve(model, songs, Windowing(12, 3), validated=False)
    assert solution.description == "penalty 3"


def test_the_solution_is_that_of_the_joined_predictions():
    """For songs of several windows, the errors have no mean or trend left."""
    songs = make_songs([30, 17, 41], seed=3)
    model = Ridge(windows=WINDOWS, penalties=(1e-7,), axis_name=None)
    windowing = Windowing(12, 5)
    (solution,) = solve(model, songs, windowing)
    y = np.concatenate(predict(model, solution, songs, windowing))
    labels = np.concatenate([song.labels_TxV for song in songs])
    mask = np.concatenate([song.mask_TxV for song in songs])
    for v in range(2):
        prediction, truth = y[mask[:, v], v].astype(np.float64), labels[mask[:, v], v]
        error = prediction - truth
        assert abs(error.mean()) < 1e-5
        assert abs(np.mean(error * prediction)) < 1e-4 * np.mean(prediction**2)


def test_a_feature_that_never_changes_gets_no_weight():
    songs = make_songs([12, 12])
    for song in songs:
        song.log_mel_TxFxM[:, :, 1] = -33.3
    model = Ridge(windows=(1,), penalties=(0.1,), axis_name=None)
    (solution,) = solve(model, songs, Windowing(12, 3))
    kernel = solution.params["head"]["kernel"]
    assert np.all(np.abs(kernel[[1, 4]]) < 1e-12)
    assert np.all(np.abs(kernel[[0, 2, 3, 5]]) > 1e-6)
    assert all(np.isfinite(y).all() for y in predict(model, solution, songs, Windowing(12, 3)))


@pytest.mark.parametrize("model", [Constant(), Ridge()])
def test_a_dimension_without_labels_is_refused(model):
    songs = make_songs([6])
    songs[0].mask_TxV[:, 1] = False
    with pytest.raises(ValueError, match="no arousal labels"):
        solve(model, songs, Windowing(8, 2))
