"""Masked batch normalisation, on one device and over several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.models.normalization import BatchNorm

SHAPE = (6, 3, 2, 4)  # segments, time, frequency, channels


def variables_for(channels, rng):
    return {
        "params": {
            "scale": rng.uniform(0.5, 2, channels).astype(np.float32),
            "bias": rng.normal(size=channels).astype(np.float32),
        },
        "batch_stats": {
            "mean": rng.normal(size=channels).astype(np.float32),
            "var": rng.uniform(0.5, 2, channels).astype(np.float32),
        },
    }


def test_moments_leave_padding_out():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, SHAPE).astype(np.float32)
    mask = np.array([1, 1, 0, 1, 0, 1], bool)
    x[~mask] = 99
    variables = variables_for(4, rng)
    y, updates = BatchNorm(axis_name=None).apply(
        variables, x, mask, train=True, mutable=["batch_stats"]
    )

    present = x[mask].astype(np.float64)
    mean, var = present.mean((0, 1, 2)), present.var((0, 1, 2))
    params, stats = variables["params"], variables["batch_stats"]
    expected = (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    updated = updates["batch_stats"]
    np.testing.assert_allclose(updated["mean"], 0.9 * stats["mean"] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(updated["var"], 0.9 * stats["var"] + 0.1 * var, rtol=1e-5)


def test_a_small_variance_beside_a_large_mean():
    """E[x²] − E[x]² would have no correct digit here."""
    rng = np.random.default_rng(5)
    x = (1000 + rng.normal(0, 0.1, (64, 3, 4))).astype(np.float32)
    variables = variables_for(4, rng)
    _, updates = BatchNorm(momentum=0.0, axis_name=None).apply(
        variables, x, np.ones(64, bool), train=True, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(updates["batch_stats"]["var"], x.var((0, 1), dtype="f8"), rtol=1e-3)


def test_evaluation_uses_the_running_statistics():
    rng = np.random.default_rng(1)
    x = rng.normal(2, 3, SHAPE).astype(np.float32)
    variables = variables_for(4, rng)
    y = BatchNorm(axis_name=None).apply(variables, x, np.zeros(6, bool), train=False)
    params, stats = variables["params"], variables["batch_stats"]
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"]
    np.testing.assert_allclose(y, expected + params["bias"], rtol=1e-5, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(mask=st.lists(st.booleans(), min_size=8, max_size=8).filter(any))
def test_devices_with_unequal_masks_equal_one_device_without_padding(mask):
    """Four devices of two segments, against the present segments alone on one device."""
    rng = np.random.default_rng(2)
    mask = np.array(mask)
    x = rng.normal(2, 3, (8, 3, 4)).astype(np.float32)
    weights = rng.normal(size=x.shape).astype(np.float32) * mask[:, None, None]
    variables = variables_for(4, rng)
    params, stats = variables["params"], variables["batch_stats"]

    def loss_fn(axis_name):
        def loss(params, x, mask, weights):
            y, updates = BatchNorm(axis_name=axis_name).apply(
                {"params": params, "batch_stats": stats}, x, mask, train=True,
                mutable=["batch_stats"],
            )  # fmt: skip
            return jnp.sum(y * weights), (y, updates["batch_stats"])

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)

    (_, (y, updated)), (grads, x_grad) = loss_fn(None)(
        params, x[mask], np.ones(mask.sum(), bool), weights[mask]
    )

    def device(params, *shard):
        (_, (y, updated)), (grads, x_grad) = loss_fn("batch")(params, *shard)
        return y, updated, jax.lax.psum(grads, "batch"), x_grad

    shards = (a.reshape(4, 2, *a.shape[1:]) for a in (x, mask, weights))
    over_devices = jax.vmap(
        device, in_axes=(None, 0, 0, 0), out_axes=(0, None, None, 0), axis_name="batch"
    )
    y_, updated_, grads_, x_grad_ = over_devices(params, *shards)

    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(np.reshape(y_, x.shape)[mask], y, **close)
    np.testing.assert_allclose(np.reshape(x_grad_, x.shape)[mask], x_grad, **close)
    np.testing.assert_allclose(np.reshape(x_grad_, x.shape)[~mask], 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), updated_, updated)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), grads_, grads)


def test_a_batch_of_padding_leaves_the_statistics_and_is_finite():
    rng = np.random.default_rng(3)
    x = rng.normal(size=SHAPE).astype(np.float32)
    variables = variables_for(4, rng)

    def loss(params, x):
        y, updates = BatchNorm(axis_name=None).apply(
            {**variables, "params": params}, x, np.zeros(6, bool), train=True,
            mutable=["batch_stats"],
        )  # fmt: skip
        return jnp.sum(y**2), (y, updates["batch_stats"])

    (_, (y, updated)), grads = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        variables["params"], x
    )
    assert np.isfinite(y).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    jax.tree.map(np.testing.assert_array_equal, updated, variables["batch_stats"])


@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_stays_bfloat16_with_float32_statistics(train):
    rng = np.random.default_rng(4)
    x = jnp.asarray(rng.normal(2, 3, SHAPE), jnp.bfloat16)
    norm = BatchNorm(dtype=jnp.bfloat16, axis_name=None)
    variables = variables_for(4, rng)
    y, updates = norm.apply(variables, x, np.ones(6, bool), train=train, mutable=["batch_stats"])
    expected = BatchNorm(axis_name=None).apply(
        variables, x.astype(jnp.float32), np.ones(6, bool), train=train, mutable=["batch_stats"]
    )[0]
    assert y.dtype == jnp.bfloat16
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(updates))
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2e-2, atol=5e-2)
