"""LSTM layers over the segments of a song, one `lax.scan` for both directions.

The input product does not depend on the recurrence, so it is one matrix product over the whole
sequence before the scan. Letters: B batch, T segments, K directions (forward, backward),
D features, H hidden units, G = 4 H gates in the order input, forget, cell, output.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike


def orthogonal_per_gate(
    key: jax.Array, shape: tuple[int, int, int], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Initial recurrent kernels (K, H, gates · H), an orthogonal (H, H) per gate."""
    k, h, g = shape
    init = nn.initializers.orthogonal()
    blocks = jax.vmap(lambda key: init(key, (h, h), dtype))(jax.random.split(key, k * g // h))
    return blocks.reshape(k, g // h, h, h).transpose(0, 2, 1, 3).reshape(shape)


def _forget_bias_one(
    key: jax.Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    del key
    h = shape[-1] // 4
    return jnp.zeros(shape, dtype).at[:, h : 2 * h].set(1.0)


class LSTM(nn.Module):
    """One layer of LSTM, bidirectional or forward only (Hochreiter & Schmidhuber, 1997).

    One bias per gate (PyTorch and cuDNN have two, which are added). Outputs are zero at padding.
    """

    hidden_size: int
    bidirectional: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array) -> jax.Array:
        """Returns (B, T, K · H), the forward direction's units first."""
        k, h = 1 + self.bidirectional, self.hidden_size
        b, t, d = x_BxTxD.shape
        lecun = nn.initializers.lecun_normal(batch_axis=(0,))
        input_kernel = self.param("input_kernel", lecun, (k, d, 4 * h))
        recurrent_kernel = self.param("recurrent_kernel", orthogonal_per_gate, (k, h, 4 * h))
        bias = self.param("bias", _forget_bias_one, (k, 4 * h))
        # sigmoid(x) = (1 + tanh(x / 2)) / 2. Halving the inputs of i, f and o here, which is exact,
        # lets one tanh in the scan compute all four gates.
        halves = np.repeat([0.5, 0.5, 1.0, 0.5], h).astype(np.float32)
        input_kernel, recurrent_kernel, bias = (
            (a * halves).astype(self.dtype) for a in (input_kernel, recurrent_kernel, bias)
        )
        x_TBxD = x_BxTxD.astype(self.dtype).transpose(1, 0, 2).reshape(t * b, d)
        gates = [(x_TBxD @ input_kernel[i]).reshape(t, b, 4 * h) for i in range(k)]
        mask_TxB = mask_BxT.T
        hidden_TxBxKH = jnp.concatenate(lstm_scan(gates, recurrent_kernel, bias, mask_TxB), axis=-1)
        hidden_TxBxKH = jnp.where(mask_TxB[..., None], hidden_TxBxKH, 0)
        return hidden_TxBxKH.transpose(1, 0, 2)


@jax.custom_vjp
def lstm_scan(
    gates: list[jax.Array], kernel_KxHxG: jax.Array, bias_KxG: jax.Array, mask_TxB: jax.Array
) -> list[jax.Array]:
    """Runs the recurrence over T; returns the hidden states (T, B, H) of every direction.

    `gates` (T, B, G), one per direction, hold only the product of the input; they and the
    parameters have i, f and o halved. The second direction runs from T − 1 to 0. Where the mask is
    false, the state is carried over unchanged, so a direction that meets padding first still starts
    from zero at the first present segment. The cell state is float32 whatever the dtype of the
    gates.

    The directions are read and written in place, at t and T − 1 − t of arrays that the scan
    carries: reversing the second one, and stacking residuals as the gradient of `scan` does, took
    as long as the recurrence itself. What the gradient needs, the gates' tanh and the previous cell
    state, is stored once; the kernel's gradient is one product after the scan. There is no
    forward-mode differentiation (`jax.jvp`).
    """
    return _lstm_scan_forward(gates, kernel_KxHxG, bias_KxG, mask_TxB)[0]


def _lstm_scan_forward(gates, kernel_KxHxG, bias_KxG, mask_TxB):
    k = len(gates)
    t, b, g = gates[0].shape
    h, dtype = g // 4, gates[0].dtype

    def step(carry, now):
        cell_KxBxH, hidden_KxBxH, hiddens, tanhs, cells = carry
        recurrent_KxBxG = jnp.einsum("kbh,khg->kbg", hidden_KxBxH, kernel_KxHxG)
        tanh_KxBxG = jnp.tanh(_read(gates, now) + recurrent_KxBxG + bias_KxG[:, None])
        i, f, g, o = _activations(tanh_KxBxG)
        new_cell = f * cell_KxBxH + i * g
        new_hidden = (o * jnp.tanh(new_cell)).astype(dtype)
        present = _read([mask_TxB] * k, now)[..., None]
        tanhs = _write(tanhs, tanh_KxBxG, now)
        cells = _write(cells, cell_KxBxH, now)
        cell_KxBxH = jnp.where(present, new_cell, cell_KxBxH)
        hidden_KxBxH = jnp.where(present, new_hidden, hidden_KxBxH)
        hiddens = _write(hiddens, hidden_KxBxH, now)
        return (cell_KxBxH, hidden_KxBxH, hiddens, tanhs, cells), None

    carry = (
        jnp.zeros((k, b, h), jnp.float32),
        jnp.zeros((k, b, h), dtype),
        [jnp.zeros((t, b, h), dtype)] * k,
        [jnp.zeros((t, b, g), dtype)] * k,
        [jnp.zeros((t, b, h), jnp.float32)] * k,
    )
    (_, _, hiddens, tanhs, cells), _ = jax.lax.scan(step, carry, jnp.arange(t))
    return hiddens, (hiddens, tanhs, cells, kernel_KxHxG, mask_TxB)


def _lstm_scan_backward(residuals, hidden_grads):
    hiddens, tanhs, cells, kernel_KxHxG, mask_TxB = residuals
    k = len(hiddens)
    t, b, h = hiddens[0].shape
    dtype = hiddens[0].dtype
    kernel_KxGxH = kernel_KxHxG.swapaxes(1, 2)

    def step(carry, now):
        cell_grad, hidden_grad, gate_grads = carry
        hidden_grad = hidden_grad + _read(hidden_grads, now)
        tanh_KxBxG, cell_KxBxH = _read(tanhs, now), _read(cells, now)
        i, f, g, o = _activations(tanh_KxBxG)
        cell_tanh = jnp.tanh(f * cell_KxBxH + i * g)
        new_cell_grad = cell_grad + hidden_grad * o * (1 - jnp.square(cell_tanh))
        of_activations = [
            0.5 * new_cell_grad * g,
            0.5 * new_cell_grad * cell_KxBxH,
            new_cell_grad * i,
            0.5 * hidden_grad * cell_tanh,
        ]
        gate_grad = jnp.concatenate(of_activations, -1) * (1 - jnp.square(tanh_KxBxG))
        present = _read([mask_TxB] * k, now)[..., None]
        gate_grad = jnp.where(present, gate_grad, 0).astype(dtype)
        cell_grad = jnp.where(present, new_cell_grad * f, cell_grad)
        through_gates = jnp.einsum("kbg,kgh->kbh", gate_grad, kernel_KxGxH)
        hidden_grad = jnp.where(present, 0, hidden_grad) + through_gates
        return (cell_grad, hidden_grad, _write(gate_grads, gate_grad, now)), None

    zeros = jnp.zeros((k, b, h), jnp.float32)
    carry = zeros, zeros, [jnp.zeros((t, b, 4 * h), dtype)] * k
    (_, _, gate_grads), _ = jax.lax.scan(step, carry, jnp.arange(t), reverse=True)

    start = jnp.zeros((1, b, h), dtype)
    before = [jnp.concatenate([start, hiddens[0][:-1]])]
    before += [jnp.concatenate([hidden[1:], start]) for hidden in hiddens[1:]]
    kernel_grads = [
        jnp.dot(hidden.reshape(t * b, h).T, gate_grad.reshape(t * b, 4 * h))
        for hidden, gate_grad in zip(before, gate_grads, strict=True)
    ]
    bias_grads = [jnp.sum(gate_grad, (0, 1), jnp.float32) for gate_grad in gate_grads]
    return gate_grads, jnp.stack(kernel_grads), jnp.stack(bias_grads).astype(dtype), None


lstm_scan.defvjp(_lstm_scan_forward, _lstm_scan_backward)


def _activations(tanh_KxBxG: jax.Array) -> tuple[jax.Array, ...]:
    i, f, g, o = jnp.split(tanh_KxBxG, 4, axis=-1)
    return 0.5 + 0.5 * i, 0.5 + 0.5 * f, g, 0.5 + 0.5 * o


def _read(arrays: list[jax.Array], now: jax.Array) -> jax.Array:
    """The values of all directions at this step of the scan, (K, ...)."""
    times = now, arrays[0].shape[0] - 1 - now
    pairs = zip(arrays, times, strict=False)
    return jnp.stack([jax.lax.dynamic_index_in_dim(a, i, keepdims=False) for a, i in pairs])


def _write(arrays: list[jax.Array], values_Kx: jax.Array, now: jax.Array) -> list[jax.Array]:
    times = now, arrays[0].shape[0] - 1 - now
    return [
        jax.lax.dynamic_update_index_in_dim(a, value, i, axis=0)
        for a, i, value in zip(arrays, times, values_Kx, strict=False)
    ]
