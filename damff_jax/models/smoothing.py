"""A delayed moving average over a curve: ratings move slowly, and trail what is heard."""

import jax
import jax.numpy as jnp
import numpy as np


def delayed_average(
    x_BxTxV: jax.Array, mask_BxT: jax.Array, *, width: int, delay: int
) -> jax.Array:
    """The mean over `width` segments (odd) whose middle lies `delay` segments back.

    Segments that are masked or outside of the crop do not count; `delay` is at most half the width,
    so that one always does. float32 (B, T, V), 0 where all are masked.
    """
    t = np.arange(x_BxTxV.shape[1])
    near_TxT = np.abs(t[None, :] - (t[:, None] - delay)) <= width // 2
    near_BxTxT = near_TxT * mask_BxT[:, None].astype(x_BxTxV.dtype)
    total_BxTxV = near_BxTxT @ jnp.where(mask_BxT[..., None], x_BxTxV, 0)
    return total_BxTxV / jnp.maximum(jnp.sum(near_BxTxT, axis=-1, keepdims=True), 1)
