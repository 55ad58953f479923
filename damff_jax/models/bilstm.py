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


def lstm_scan(
    gates_TxKxBxG: jax.Array, kernel_KxHxG: jax.Array, mask_TxKxB: jax.Array
) -> jax.Array:
    """Runs the recurrence over T; gives the hidden states (T, K, B, H).

    Where the mask is false the state is carried on unchanged, so a direction that meets padding
    first still starts from zero at the first present segment. The cell state is float32 whatever
    the dtype of the gates.
    """
    _, k, b, g = gates_TxKxBxG.shape
    h = g // 4
    dtype = gates_TxKxBxG.dtype

    def step(carry, inputs):
        cell_KxBxH, hidden_KxBxH = carry
        gates_KxBxG, mask_KxB = inputs
        gates_KxBxG = gates_KxBxG + jnp.einsum("kbh,khg->kbg", hidden_KxBxH, kernel_KxHxG)
        i, f, g, o = jnp.split(gates_KxBxG, 4, axis=-1)
        new_cell = nn.sigmoid(f) * cell_KxBxH + nn.sigmoid(i) * jnp.tanh(g)
        new_hidden = (nn.sigmoid(o) * jnp.tanh(new_cell)).astype(dtype)
        present = mask_KxB[..., None]
        cell_KxBxH = jnp.where(present, new_cell, cell_KxBxH)
        hidden_KxBxH = jnp.where(present, new_hidden, hidden_KxBxH)
        return (cell_KxBxH, hidden_KxBxH), hidden_KxBxH

    zeros = (jnp.zeros((k, b, h), jnp.float32), jnp.zeros((k, b, h), dtype))
    _, hidden_TxKxBxH = jax.lax.scan(step, zeros, (gates_TxKxBxG, mask_TxKxB))
    return hidden_TxKxBxH


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
