"""Dual Attention Feature Fusion (DAFF) and the fusions it is compared with.

DAFF weighs two feature maps A and B against each other by a map that is the sigmoid of a channel
attention plus a spatial attention of their sum:

    F = A + B
    c = BN(PW2 relu(BN(PW1 mean_HW(F))))              C → C/r → C
    s = BN(PW4 relu(BN(PW3 flatten(mean_C(F)))))      HW → HW/r → HW
    M = sigmoid(c ⊕ s)          X = M ⊙ A + (1 − M) ⊙ B

It is Attentional Feature Fusion (AFF: Y. Dai, F. Gieseke, S. Oehmcke, Y. Wu, K. Barnard, WACV 2021)
with a spatial branch in the place of the local one, which attends to the channels at each point:

    l = BN(PW4 relu(BN(PW3 F)))                       C → C/r → C, at every point
    M = sigmoid(c ⊕ l)          X = M ⊙ A + (1 − M) ⊙ B

That is AFF as published. Its authors' public code doubles X, the paper's equation does not; neither
fusion here does. Letters: N segments, H time, W frequency, C channels.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.normalization import BatchNorm

Fusion = Literal["daff", "aff", "channel", "spatial", "sum", "concat"]


class Bottleneck(nn.Module):
    """Dense D → D/r, BN, ReLU, dense D/r → D, BN, on the last axis."""

    reduction: int = 4
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(self, x_NxD: jax.Array, mask_N: jax.Array, *, train: bool) -> jax.Array:
        features = x_NxD.shape[-1]
        x_NxD = self._dense_norm(
            "squeeze", x_NxD, max(features // self.reduction, 1), mask_N, train
        )
        return self._dense_norm("excite", nn.relu(x_NxD), features, mask_N, train)

    def _dense_norm(self, name, x_NxD, features, mask_N, train):
        y, bias = _Product(features, dtype=self.dtype, name=name)(x_NxD)
        norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=f"{name}_norm")
        return norm(y, mask_N, train=train, x_bias=bias)


class _Product(nn.Module):
    """A dense layer that gives its product and its bias apart, for the normalisation after it."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_NxD: jax.Array) -> tuple[jax.Array, jax.Array]:
        shape = (x_NxD.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x_NxD.astype(self.dtype) @ kernel.astype(self.dtype), bias


class AttentionFusion(nn.Module):
    """Fuses two feature maps (N, H, W, C) into one.

    Args:
      fusion: 'daff', 'aff', their channel attention or DAFF's spatial one alone ('channel',
        'spatial'), 'sum', or 'concat' (along channels, so that the result has 2 C).
      reduction: r of the bottlenecks.
    """

    fusion: Fusion = "daff"
    reduction: int = 4
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(
        self, a_NxHxWxC: jax.Array, b_NxHxWxC: jax.Array, mask_N: jax.Array, *, train: bool
    ) -> jax.Array:
        if self.fusion == "concat":
            return jnp.concatenate([a_NxHxWxC, b_NxHxWxC], axis=-1)
        f_NxHxWxC = a_NxHxWxC + b_NxHxWxC
        if self.fusion == "sum":
            return f_NxHxWxC
        n, h, w, c = f_NxHxWxC.shape
        bottleneck = {
            "reduction": self.reduction,
            "dtype": self.dtype,
            "axis_name": self.axis_name,
        }
        logits = jnp.zeros((), self.dtype)
        if self.fusion in ("daff", "aff", "channel"):
            channel_NxC = Bottleneck(**bottleneck, name="channel")(
                jnp.mean(f_NxHxWxC, axis=(1, 2)), mask_N, train=train
            )
            logits = logits + channel_NxC.reshape(n, 1, 1, c)
        if self.fusion in ("daff", "spatial"):
            spatial_NxHW = Bottleneck(**bottleneck, name="spatial")(
                jnp.mean(f_NxHxWxC, axis=3).reshape(n, h * w), mask_N, train=train
            )
            logits = logits + spatial_NxHW.reshape(n, h, w, 1)
        if self.fusion == "aff":
            logits = logits + Bottleneck(**bottleneck, name="local")(f_NxHxWxC, mask_N, train=train)
        m = nn.sigmoid(logits)
        return m * a_NxHxWxC + (1 - m) * b_NxHxWxC
