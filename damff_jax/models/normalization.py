"""Batch normalisation whose statistics exclude padding and cover all devices."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy, 2015).

    In training the moments are sums over the present segments of all devices, divided once by
    their global count; a mean of per-device means would weight devices with more padding too
    heavily. Running statistics are biased moments: running = momentum · running +
    (1 − momentum) · batch. A global batch without any present segment leaves them unchanged.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    def __call__(
        self, x: jax.Array, mask_N: jax.Array, *, train: bool, x_bias: jax.Array | float = 0.0
    ) -> jax.Array:
        """Normalises `x + x_bias` (N, ..., C); `mask_N` is true where a segment is present.

        In training a bias cancels out with the mean. Passed separately, it has a gradient of
        exactly zero; otherwise rounding would leave a small one, which Adam would scale up.
        """
        gain, shift = self.gain_and_shift(x, mask_N, train=train, x_bias=x_bias)
        return x * gain + shift

    @nn.compact
    def gain_and_shift(
        self, x: jax.Array, mask_N: jax.Array, *, train: bool, x_bias: jax.Array | float = 0.0
    ) -> tuple[jax.Array, jax.Array]:
        """Returns (C,) and (C,) such that `x * gain + shift` is `x + x_bias` normalised.

        This lets a caller normalise something smaller than `x`.
        """
        features = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,))

        if train:
            mean, var, count = self._moments(x, mask_N)
            if not self.is_initializing():
                keep = jnp.where(count > 0, self.momentum, 1.0)
                running_mean.value = keep * running_mean.value + (1 - keep) * (mean + x_bias)
                running_var.value = keep * running_var.value + (1 - keep) * var
        else:
            mean, var = running_mean.value - x_bias, running_var.value
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return gain.astype(self.dtype), (bias - mean * gain).astype(self.dtype)

    def _moments(self, x: jax.Array, mask_N: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        # Within a segment first, so that the mask is as small as the number of segments.
        x_NxPxC = x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32)
        mask_N = mask_N.astype(jnp.float32)
        count, total = self._sum_over_devices(
            (jnp.sum(mask_N) * x_NxPxC.shape[1], mask_N @ jnp.sum(x_NxPxC, axis=1))
        )
        divisor = jnp.maximum(count, 1.0)
        mean = total / divisor
        # In two passes: E[x²] − E[x]² loses precision when the variance is small beside the mean;
        # gradients of the spatial attention were wrong by several percent. The deviations sum to
        # zero, so the variance has no gradient through the mean.
        deviations = x_NxPxC - jax.lax.stop_gradient(mean)
        squares = mask_N @ jnp.sum(jnp.square(deviations), axis=1)
        var = self._sum_over_devices(squares) / divisor
        return mean, var, count

    def _sum_over_devices(self, sums):
        if self.axis_name is None or self.is_initializing():
            return sums
        return jax.lax.psum(sums, self.axis_name)
