"""A bidirectional GRU over the segments of a song, one `lax.scan` for both directions.

Letters: B batch, T segments, K = 2 directions (forward, backward), D features, H hidden units,
G = 3 H gates in the order reset, update, candidate.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.kernels.lstm import orthogonal_per_gate


class BiGRU(nn.Module):
    """One layer of GRU in both directions (Cho et al., EMNLP 2014), as in PyTorch and cuDNN:

        r, z = sigmoid(W x + U h + b)
        n = tanh(W x + b + r ⊙ (U h + b'))
        h = (1 − z) ⊙ n + z ⊙ h

    The reset gate is applied after the product, so the candidate has a second bias, b'; for the
    gates, a second bias would just add to the first. The state is float32 whatever the dtype.
    """

    hidden_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array, mask_BxT: jax.Array) -> jax.Array:
        """Returns (B, T, 2 H), the forward direction's units first, zero at padding.

        Where the mask is false, the state is carried over unchanged.
        """
        h = self.hidden_size
        b, _, d = x_BxTxD.shape
        lecun = nn.initializers.lecun_normal(batch_axis=(0,))
        input_kernel = self.param("input_kernel", lecun, (2, d, 3 * h)).astype(self.dtype)
        kernel_KxHxG = self.param("recurrent_kernel", orthogonal_per_gate, (2, h, 3 * h))
        bias_KxG = self.param("bias", nn.initializers.zeros, (2, 3 * h))
        candidate_bias_KxH = self.param("candidate_bias", nn.initializers.zeros, (2, h))

        gates_TxKxBxG = jnp.einsum("btd,kdg->tkbg", x_BxTxD.astype(self.dtype), input_kernel)
        gates_TxKxBxG += bias_KxG[:, None].astype(self.dtype)
        present_TxKxB = jnp.broadcast_to(mask_BxT.T[:, None], gates_TxKxBxG.shape[:3])

        def step(hidden_KxBxH, now):
            gates_KxBxG, present_KxB = now
            reset, update, candidate = jnp.split(gates_KxBxG, 3, axis=-1)
            product = jnp.einsum(
                "kbh,khg->kbg", hidden_KxBxH.astype(self.dtype), kernel_KxHxG.astype(self.dtype)
            )
            of_reset, of_update, of_candidate = jnp.split(product, 3, axis=-1)
            of_candidate += candidate_bias_KxH[:, None].astype(self.dtype)
            candidate = jnp.tanh(candidate + nn.sigmoid(reset + of_reset) * of_candidate)
            update = nn.sigmoid(update + of_update)
            new_KxBxH = (1 - update) * candidate + update * hidden_KxBxH
            hidden_KxBxH = jnp.where(present_KxB[..., None], new_KxBxH, hidden_KxBxH)
            return hidden_KxBxH, hidden_KxBxH

        start = jnp.zeros((2, b, h), jnp.float32)
        _, hidden_TxKxBxH = jax.lax.scan(
            step, start, (_reverse_second(gates_TxKxBxG), _reverse_second(present_TxKxB))
        )
        hidden_TxKxBxH = _reverse_second(hidden_TxKxBxH).astype(self.dtype)
        hidden_BxTxKH = jnp.concatenate(list(hidden_TxKxBxH.swapaxes(0, 1)), axis=-1).swapaxes(0, 1)
        return jnp.where(mask_BxT[..., None], hidden_BxTxKH, 0)


def _reverse_second(x_TxKx: jax.Array) -> jax.Array:
    """Reverses the time of the backward direction."""
    return jnp.stack([x_TxKx[:, 0], x_TxKx[::-1, 1]], axis=1)
