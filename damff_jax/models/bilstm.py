"""LSTM layers over the segments of a song, one `lax.scan` for both directions.

The input product does not depend on the recurrence, so it is one matrix product over the whole
sequence before the scan. Letters: B batch, T segments, K directions (forward, backward),
D features, H hidden units, G = 4 H gates in the order input, forget, cell, output.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def _orthogonal_per_gate(key: jax.Array, shape: tuple[int, int, int], dtype=jnp.float32):
    k, h, g = shape
    init = nn.initializers.orthogonal()
    blocks = jax.vmap(lambda key: init(key, (h, h), dtype))(jax.random.split(key, k * g // h))
    return blocks.reshape(k, g // h, h, h).transpose(0, 2, 1, 3).reshape(shape)


def _forget_bias_one(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32):
    del key
    h = shape[-1] // 4
    return jnp.zeros(shape, dtype).at[:, h : 2 * h].set(1.0)


@jax.custom_vjp
def lstm_scan(
    gates_TxKxBxG: jax.Array, kernel_KxHxG: jax.Array, mask_TxKxB: jax.Array
) -> jax.Array:
    """Runs the recurrence over T; gives the hidden states (T, K, B, H).

    Where the mask is false the state is carried on unchanged, so a direction that meets padding
    first still starts from zero at the first present segment. The cell state is float32 whatever
    the dtype of the gates.
    """
    return _lstm_scan_forward(gates_TxKxBxG, kernel_KxHxG, mask_TxKxB)[0]


def _activate(gates: jax.Array) -> tuple[jax.Array, ...]:
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    return nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)


def _lstm_scan_forward(gates_TxKxBxG, kernel_KxHxG, mask_TxKxB):
    _, k, b, g = gates_TxKxBxG.shape
    dtype = gates_TxKxBxG.dtype

    def step(carry, inputs):
        cell_KxBxH, hidden_KxBxH = carry
        gates_KxBxG, mask_KxB = inputs
        i, f, g, o = _activate(gates_KxBxG + hidden_KxBxH @ kernel_KxHxG)
        new_cell = f * cell_KxBxH + i * g
        new_hidden = (o * jnp.tanh(new_cell)).astype(dtype)
        present = mask_KxB[..., None]
        cell_KxBxH = jnp.where(present, new_cell, cell_KxBxH)
        hidden_KxBxH = jnp.where(present, new_hidden, hidden_KxBxH)
        return (cell_KxBxH, hidden_KxBxH), (cell_KxBxH, hidden_KxBxH)

    zeros = (jnp.zeros((k, b, g // 4), jnp.float32), jnp.zeros((k, b, g // 4), dtype))
    _, (cells, hiddens) = jax.lax.scan(step, zeros, (gates_TxKxBxG, mask_TxKxB))
    return hiddens, (gates_TxKxBxG, kernel_KxHxG, mask_TxKxB, cells, hiddens)


def _lstm_scan_backward(residuals, hidden_grads):
    """Backpropagation through time, with what needs no recurrence outside of the scan.

    Autodiff would keep every step's gates, and add to the kernel's gradient at every step. Here
    the gates are computed again for all steps at once, and so is the kernel's gradient.
    """
    gates_TxKxBxG, kernel_KxHxG, mask_TxKxB, cells, hiddens = residuals
    dtype = gates_TxKxBxG.dtype
    present = mask_TxKxB[..., None]
    cells_before, hiddens_before = (
        jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]) for x in (cells, hiddens)
    )
    i, f, g, o = _activate(gates_TxKxBxG + hiddens_before @ kernel_KxHxG)
    tanh_cells = jnp.tanh(cells)
    # Derivatives within a step. At padding the state passes on and the gates do nothing.
    cell_by_hidden = jnp.where(present, o * (1 - tanh_cells * tanh_cells), 0)
    cell_by_cell = jnp.where(present, f, 1)
    gates_by_cell = [i * (1 - i) * g, f * (1 - f) * cells_before, i * (1 - g * g)]
    gates_by_cell = jnp.where(present, jnp.concatenate(gates_by_cell, axis=-1), 0)
    output_by_hidden = jnp.where(present, o * (1 - o) * tanh_cells, 0)

    def step(carry, inputs):
        cell_grad, hidden_grad = carry
        (
            hidden_grad_here,
            mask_KxB,
            cell_by_hidden,
            cell_by_cell,
            gates_by_cell,
            output_by_hidden,
        ) = inputs
        hidden_grad = hidden_grad + hidden_grad_here
        cell_grad = cell_grad + hidden_grad * cell_by_hidden
        gates_grad = jnp.concatenate(
            [jnp.tile(cell_grad, 3) * gates_by_cell, hidden_grad * output_by_hidden], axis=-1
        ).astype(dtype)
        before = gates_grad @ kernel_KxHxG.swapaxes(1, 2)
        hidden_grad = jnp.where(mask_KxB[..., None], before, hidden_grad)
        return (cell_grad * cell_by_cell, hidden_grad), gates_grad

    zeros = jnp.zeros_like(cells[0])
    inputs = (
        hidden_grads,
        mask_TxKxB,
        cell_by_hidden,
        cell_by_cell,
        gates_by_cell,
        output_by_hidden,
    )
    _, gates_grads = jax.lax.scan(step, (zeros, zeros), inputs, reverse=True)
    kernel_grad = jnp.einsum("tkbh,tkbg->khg", hiddens_before, gates_grads)
    return gates_grads, kernel_grad, None


lstm_scan.defvjp(_lstm_scan_forward, _lstm_scan_backward)


class LSTM(nn.Module):
    """One layer of LSTM, bidirectional or forward only (Hochreiter & Schmidhuber, 1997).

    One bias per gate (PyTorch and cuDNN keep two, which add up). Outputs are zero at padding.
    """

    hidden_size: int
    bidirectional: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array) -> jax.Array:
        """Gives (B, T, K · H), the forward direction's units first."""
        k, h, d = 1 + self.bidirectional, self.hidden_size, x_BxTxD.shape[-1]
        lecun = nn.initializers.lecun_normal(batch_axis=(0,))
        input_kernel = self.param("input_kernel", lecun, (k, d, 4 * h))
        recurrent_kernel = self.param("recurrent_kernel", _orthogonal_per_gate, (k, h, 4 * h))
        bias = self.param("bias", _forget_bias_one, (k, 4 * h))
        x_BxTxD, input_kernel, recurrent_kernel, bias = (
            a.astype(self.dtype) for a in (x_BxTxD, input_kernel, recurrent_kernel, bias)
        )
        gates_TxKxBxG = jnp.einsum("btd,kdg->tkbg", x_BxTxD, input_kernel) + bias[:, None]
        mask_TxKxB = jnp.broadcast_to(mask_BxT.T[:, None], gates_TxKxBxG.shape[:3])
        hidden_TxKxBxH = _flip_backward(
            lstm_scan(_flip_backward(gates_TxKxBxG), recurrent_kernel, _flip_backward(mask_TxKxB))
        )
        hidden_TxKxBxH = hidden_TxKxBxH * mask_TxKxB[..., None].astype(self.dtype)
        return hidden_TxKxBxH.transpose(2, 0, 1, 3).reshape(*mask_BxT.shape, k * h)


def _flip_backward(x_TxKx: jax.Array) -> jax.Array:
    """Reverses time for the backward direction (K = 1), if there is one."""
    return jnp.concatenate([x_TxKx[:, :1], x_TxKx[::-1, 1:]], axis=1)
