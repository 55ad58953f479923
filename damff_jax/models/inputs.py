"""The preparation of a model's input: standardised log-Mel and its statistics.

Letters: B batch, T segments, F frames per segment, M Mel bins, S segments of a window, D features.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn


def standardized(model: nn.Module, log_mel_BxTxFxM: jax.Array, mask_BxT: jax.Array) -> jax.Array:
    """Log-Mel in dB, each Mel bin standardised by the training split: float32, zero at padding.

    The statistics are the `model`'s variables `mean` and `std` (M,) in the collection
    `input_stats`, in dB; training sets them.
    """
    shape = log_mel_BxTxFxM.shape[-1:]
    mean_M = model.variable("input_stats", "mean", jnp.zeros, shape).value
    std_M = model.variable("input_stats", "std", jnp.ones, shape).value
    x_BxTxFxM = (log_mel_BxTxFxM.astype(jnp.float32) - mean_M) / std_M
    # Padding may hold anything, NaN included: a NaN times a zero mask would still be a NaN.
    return jnp.where(mask_BxT[..., None, None], x_BxTxFxM, 0.0)


def window_statistics(x_BxTxFxM: jax.Array, mask_BxT: jax.Array, window: int) -> jax.Array:
    """Mean and standard deviation of every Mel bin over windows of segments, (B, T, 2 M).

    They cover all frames of the `window` segments around each segment, without padding; 0 means the
    whole crop. Zeros where a window has only padding.
    """
    mean_BxTxM = jnp.mean(x_BxTxFxM, axis=2)
    var_BxTxM = jnp.var(x_BxTxFxM, axis=2)
    if window != 1:
        t = jnp.arange(mask_BxT.shape[1])
        reach = window // 2 if window else t.size
        near_TxS = jnp.abs(t[:, None] - t) <= reach
        weight_BxTxS = jnp.where(near_TxS & mask_BxT[:, None], 1.0, 0.0)
        weight_BxTxS /= jnp.maximum(jnp.sum(weight_BxTxS, axis=2, keepdims=True), 1.0)
        of_segments_BxSxM, mean_BxTxM = mean_BxTxM, weight_BxTxS @ mean_BxTxM
        # Within segments plus between them; a difference of squares would lose precision.
        between_BxTxSxM = jnp.square(of_segments_BxSxM[:, None] - mean_BxTxM[:, :, None])
        var_BxTxM = weight_BxTxS @ var_BxTxM
        var_BxTxM += jnp.sum(weight_BxTxS[..., None] * between_BxTxSxM, axis=2)
    return jnp.concatenate([mean_BxTxM, jnp.sqrt(var_BxTxM)], axis=-1)


def deltas(x_BxTxD: jax.Array, mask_BxT: jax.Array) -> jax.Array:
    """Half the difference between the next and the previous segment, (B, T, D).

    Where one of them is missing, the segment itself is used instead.
    """
    before, after = (
        jnp.where(
            (jnp.roll(mask_BxT, shift, axis=1) & inside_T)[..., None],
            jnp.roll(x_BxTxD, shift, axis=1),
            x_BxTxD,
        )
        for shift, inside_T in _neighbours(mask_BxT.shape[1])
    )
    return (after - before) / 2


def _neighbours(n_segments: int) -> tuple[tuple[int, jax.Array], ...]:
    t = jnp.arange(n_segments)
    return (1, t > 0), (-1, t < n_segments - 1)
