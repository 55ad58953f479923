"""The LSTM against a hand-written loop that never sees the padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax.models.kernels.lstm import LSTM, lstm_scan

BATCH, SEGMENTS, FEATURES, HIDDEN = 4, 7, 5, 3
LENGTHS = np.arange(SEGMENTS) < np.array([7, 4, 1, 0])[:, None]
HOLES = np.random.default_rng(9).uniform(size=(BATCH, SEGMENTS)) < 0.6


def case(mask, bidirectional, padding=99.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, SEGMENTS, FEATURES)).astype(np.float32)
    x[~mask] = padding
    layer = LSTM(hidden_size=HIDDEN, bidirectional=bidirectional)
    params = layer.init(jax.random.key(1), x, mask)["params"]
    params = jax.tree.map(lambda p: p + rng.normal(0, 0.3, p.shape).astype(np.float32), params)
    return layer, params, x


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loop(params, x_TxD, direction):
    """One sequence in float64: i, f, g, o, then the cell, then the hidden state."""
    w, u, b = (
        np.asarray(params[name], np.float64)[direction]
        for name in ("input_kernel", "recurrent_kernel", "bias")
    )
    h = c = np.zeros(HIDDEN)
    states = []
    for x in x_TxD.astype(np.float64):
        i, f, g, o = np.split(x @ w + h @ u + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.array(states).reshape(-1, HIDDEN)


@pytest.mark.parametrize("mask", [np.ones_like(LENGTHS), LENGTHS, HOLES], ids=["all", "len", "gap"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_outputs_against_a_loop_over_the_present_segments(mask, bidirectional):
    layer, params, x = case(mask, bidirectional)
    y = layer.apply({"params": params}, x, mask)
    expected = np.zeros((BATCH, SEGMENTS, HIDDEN * (1 + bidirectional)))
    for b in range(BATCH):
        present = x[b, mask[b]]
        expected[b, mask[b], :HIDDEN] = loop(params, present, 0)
        if bidirectional:
            expected[b, mask[b], HIDDEN:] = loop(params, present[::-1], 1)[::-1]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def jax_loop(params, x_TxD, direction):
    w, u, b = (params[n][direction] for n in ("input_kernel", "recurrent_kernel", "bias"))
    h = c = jnp.zeros(HIDDEN)
    states = []
    for x in x_TxD:
        i, f, g, o = jnp.split(x @ w + h @ u + b, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        states.append(h)
    return states


@pytest.mark.parametrize("mask", [LENGTHS, HOLES], ids=["len", "gap"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_gradients_against_a_loop_over_the_present_segments(mask, bidirectional):
    layer, params, x = case(mask, bidirectional)
    weights = np.random.default_rng(2).normal(
        size=(BATCH, SEGMENTS, 1 + bidirectional, HIDDEN)
    ).astype(np.float32)  # fmt: skip

    @jax.jit
    def loss(params, x):
        return jnp.sum(layer.apply({"params": params}, x, mask).reshape(weights.shape) * weights)

    @jax.jit
    def expected_loss(params, x):
        total = 0.0
        for b in range(BATCH):
            (present,) = np.nonzero(mask[b])
            for direction in range(1 + bidirectional):
                order = present[:: 1 - 2 * direction]
                states = jax_loop(params, [x[b, t] for t in order], direction)
                for t, h in zip(order, states, strict=True):
                    total += jnp.sum(h * weights[b, t, direction])
        return total

    grads = jax.grad(loss, argnums=(0, 1))(params, x)
    expected = jax.grad(expected_loss, argnums=(0, 1))(params, x)

    def check(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())

    jax.tree.map(check, grads, expected)


def test_padding_does_not_matter():
    _, params, x = case(LENGTHS, True)
    layer, _, other = case(LENGTHS, True, padding=-3.0)
    apply = jax.jit(lambda x: layer.apply({"params": params}, x, LENGTHS))
    np.testing.assert_array_equal(apply(x), apply(other))
    assert not np.asarray(apply(x))[~LENGTHS].any()


def test_bfloat16():
    layer, params, x = case(LENGTHS, True, padding=0.0)
    half = LSTM(hidden_size=HIDDEN, dtype=jnp.bfloat16)
    weights = np.random.default_rng(3).normal(size=(BATCH, SEGMENTS, 2 * HIDDEN)).astype(np.float32)

    def loss(params, x, layer):
        y = layer.apply({"params": params}, x, LENGTHS)
        return jnp.sum(y.astype(jnp.float32) * weights), y

    grad = jax.grad(loss, argnums=(0, 1), has_aux=True)
    (grads, y_half), (expected, y) = grad(params, x, half), grad(params, x, layer)
    assert y_half.dtype == jnp.bfloat16
    np.testing.assert_allclose(y_half.astype(jnp.float32), y, atol=2e-2)

    def check(a, b):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-2 * np.abs(b).max())

    jax.tree.map(check, grads, expected)


def test_the_cell_state_is_float32_in_bfloat16():
    """A cell that adds a small number to a large one again and again: bfloat16 would lose it."""
    t = 2000
    # Gates of a single unit, halved: input and output open, forget open, g = tanh(0.002).
    gates = jnp.broadcast_to(jnp.array([10, 20, 0.002, 10], jnp.bfloat16), (t, 1, 4))
    zeros = jnp.zeros((1, 1, 4), jnp.bfloat16)
    args = [gates], zeros, zeros[:, 0], jnp.ones((t, 1), bool)
    (hidden,) = lstm_scan(*args)
    assert float(hidden[-1, 0, 0]) == pytest.approx(np.tanh(0.002 * t), rel=1e-2)


def test_the_forget_gate_starts_open_and_the_recurrence_orthogonal():
    layer = LSTM(hidden_size=HIDDEN)
    params = layer.init(
        jax.random.key(0), jnp.zeros((1, 2, FEATURES)), jnp.ones((1, 2), bool)
    )["params"]  # fmt: skip
    expected = np.zeros((2, 4, HIDDEN))
    expected[:, 1] = 1
    np.testing.assert_array_equal(params["bias"].reshape(expected.shape), expected)
    blocks = np.asarray(params["recurrent_kernel"]).reshape(2, HIDDEN, 4, HIDDEN)
    for block in blocks.transpose(0, 2, 1, 3).reshape(-1, HIDDEN, HIDDEN):
        np.testing.assert_allclose(block @ block.T, np.eye(HIDDEN), atol=1e-5)
