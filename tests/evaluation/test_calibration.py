"""Calibration of the head: the curves get the labels' mean and deviation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from damff_jax.evaluation.metrics import Curve
from damff_jax.models import create_model
from damff_jax.training import train_state
from damff_jax.training.calibration import rescale_head, scale_and_shift

F, M = 8, 8


def curves_of(seed=0, n_songs=5):
    rng = np.random.default_rng(seed)
    curves = {}
    for song in range(n_songs):
        truth_TxV = rng.normal(0.1, 0.3, (20, 2))
        prediction_TxV = 0.4 * truth_TxV + rng.normal([0.3, -0.2], 0.05, (20, 2))
        curves[str(song)] = Curve(prediction_TxV, truth_TxV, rng.random((20, 2)) > 0.2)
    return curves


def test_scaled_and_shifted_predictions_have_the_labels_mean_and_deviation():
    curves = curves_of()
    scale_V, shift_V = scale_and_shift(curves)
    for v in range(2):
        rows = [curve.mask_TxV[:, v] for curve in curves.values()]
        prediction, truth = (
            np.concatenate([c[i][r, v] for c, r in zip(curves.values(), rows, strict=True)])
            for i in range(2)
        )
        corrected = scale_V[v] * prediction + shift_V[v]
        assert corrected.mean() == pytest.approx(truth.mean(), abs=1e-9)
        assert corrected.std() == pytest.approx(truth.std(), rel=1e-9)


def test_a_constant_is_only_shifted():
    truth_TxV = np.random.default_rng(0).normal(size=(9, 2))
    flat = Curve(np.full((9, 2), 0.25), truth_TxV, np.ones((9, 2), bool))
    scale_V, shift_V = scale_and_shift({"a": flat})
    np.testing.assert_array_equal(scale_V, 1)
    np.testing.assert_allclose(shift_V, truth_TxV.mean(axis=0) - 0.25)
    unlabelled = flat._replace(mask_TxV=np.zeros((9, 2), bool))
    for values, expected in zip(scale_and_shift({"a": unlabelled}), (1, 0), strict=True):
        np.testing.assert_array_equal(values, expected)


def state_of(name, **fields):
    config = {"name": name, **fields}
    return create_model(config, dtype="float32", axis_name=None), train_state.create(
        create_model(config, dtype="float32", axis_name=None),
        optax.identity(),
        seed=0,
        segment_shape=(F, M),
        input_stats={"mean": np.zeros(M), "std": np.ones(M)},
        with_ema=True,
    )


@pytest.mark.parametrize(
    ("fields", "heads"),
    [
        ({"name": "damff", "channels": (2, 2, 4), "hidden_size": 4}, ["head"]),
        (
            {"name": "cnn_bigru", "channels": 2, "dense_size": 4, "hidden_size": 4},
            ["arousal_head", "valence_head"],
        ),
    ],
)
def test_a_rescaled_head_gives_the_scaled_curves_and_leaves_the_rest(fields, heads):
    model, state = state_of(**fields)
    scale_V, shift_V = np.array([2.0, 0.5]), np.array([0.1, -0.3])
    after = rescale_head(state, scale_V, shift_V)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, F, M)), jnp.float32)
    mask = jnp.ones((2, 5), bool)
    apply = jax.jit(lambda variables: model.apply(variables, x, mask, train=False))
    for of in (vars, lambda s: s.eval_variables()):
        ours, theirs = (
            apply({name: of(s)[name] for name in ("params", "batch_stats", "input_stats")})
            for s in (after, state)
        )
        np.testing.assert_allclose(ours, scale_V * theirs + shift_V, atol=1e-5)
    changed = {
        path[0].key
        for (path, a), (_, b) in zip(
            *(jax.tree_util.tree_flatten_with_path(s.params)[0] for s in (after, state)),
            strict=True,
        )
        if not np.array_equal(a, b)
    }
    assert sorted(changed) == heads
