"""The GRU against a loop in numpy that never sees the padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax.models.kernels.gru import BiGRU

BATCH, SEGMENTS, FEATURES, HIDDEN = 4, 7, 5, 3
LENGTHS = np.arange(SEGMENTS) < np.array([7, 4, 1, 0])[:, None]
HOLES = np.random.default_rng(9).uniform(size=(BATCH, SEGMENTS)) < 0.6


def case(mask, padding=99.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, SEGMENTS, FEATURES)).astype(np.float32)
    x[~mask] = padding
    layer = BiGRU(hidden_size=HIDDEN)
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(1), x, mask)["params"])
    params = jax.tree.map(lambda p: rng.normal(0, 0.5, p.shape).astype(np.float32), shapes)
    return layer, params, x


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loop(params, x_TxD, direction):
    """One sequence in float64, gate by gate."""
    w, u, b, candidate_b = (
        np.asarray(params[name], np.float64)[direction]
        for name in ("input_kernel", "recurrent_kernel", "bias", "candidate_bias")
    )
    (w_r, w_z, w_n), (u_r, u_z, u_n), (b_r, b_z, b_n) = (np.split(a, 3, -1) for a in (w, u, b))
    h = np.zeros(HIDDEN)
    states = []
    for x in x_TxD.astype(np.float64):
        r = sigmoid(x @ w_r + h @ u_r + b_r)
        z = sigmoid(x @ w_z + h @ u_z + b_z)
        n = np.tanh(x @ w_n + b_n + r * (h @ u_n + candidate_b))
        h = (1 - z) * n + z * h
        states.append(h)
    return np.array(states).reshape(-1, HIDDEN)


@pytest.mark.parametrize("mask", [np.ones_like(LENGTHS), LENGTHS, HOLES], ids=["all", "len", "gap"])
def test_outputs_against_a_loop_over_the_present_segments(mask):
    layer, params, x = case(mask)
    expected = np.zeros((BATCH, SEGMENTS, 2 * HIDDEN))
    for b in range(BATCH):
        present = x[b, mask[b]]
        expected[b, mask[b], :HIDDEN] = loop(params, present, 0)
        expected[b, mask[b], HIDDEN:] = loop(params, present[::-1], 1)[::-1]
    y = jax.jit(layer.apply)({"params": params}, x, mask)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_padding_changes_neither_outputs_nor_gradients():
    layer, params, x = case(LENGTHS)
    _, _, other = case(LENGTHS, padding=-3.0)

    @jax.jit
    def outputs_and_grads(x):
        def loss(params):
            y = layer.apply({"params": params}, x, LENGTHS)
            return jnp.sum(jnp.square(y)), y

        return jax.grad(loss, has_aux=True)(params)

    a, b = outputs_and_grads(x), outputs_and_grads(other)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert not np.asarray(a[1])[~LENGTHS].any()
    assert all(np.isfinite(grad).all() and np.any(grad) for grad in jax.tree.leaves(a[0]))


def test_bfloat16_is_near_float32():
    layer, params, x = case(LENGTHS, padding=0.0)
    half = BiGRU(hidden_size=HIDDEN, dtype=jnp.bfloat16)
    y, half = (jax.jit(gru.apply)({"params": params}, x, LENGTHS) for gru in (layer, half))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), y, atol=2e-2)
