"""Dual Attention Feature Fusion (DAFF) and the fusions it is compared with.

DAFF weights two feature maps A and B against each other by a map M, the sigmoid of a channel
attention plus a spatial attention of their sum:

    F = A + B
    c = BN(PW2 relu(BN(PW1 mean_HW(F))))              C → C/r → C
    s = BN(PW4 relu(BN(PW3 flatten(mean_C(F)))))      HW → HW/r → HW
    M = sigmoid(c ⊕ s)          X = M ⊙ A + (1 − M) ⊙ B

It is Attentional Feature Fusion (AFF: Y. Dai, F. Gieseke, S. Oehmcke, Y. Wu, K. Barnard, WACV 2021)
with a spatial branch instead of AFF's local one, which attends to the channels at each point:

    l = BN(PW4 relu(BN(PW3 F)))                       C → C/r → C, at every point
    M = sigmoid(c ⊕ l)          X = M ⊙ A + (1 − M) ⊙ B

That is AFF as published. Its authors' public code doubles X, the paper's equation does not, and
neither do the fusions here. Letters: N segments, H time, W frequency, C channels.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.fields import one_of
from damff_jax.models.normalization import BatchNorm


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
    """A dense layer that returns its product and bias separately, for the normalisation after."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_NxD: jax.Array) -> tuple[jax.Array, jax.Array]:
        shape = (x_NxD.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x_NxD.astype(self.dtype) @ kernel.astype(self.dtype), bias


class Maps(NamedTuple):
    """The two feature maps to fuse, and their sum."""

    a_NxHxWxC: jax.Array
    b_NxHxWxC: jax.Array
    sum_NxHxWxC: jax.Array


# Applies a `Bottleneck` with the fusion's settings: (name, input) → output.
Layer = Callable[[str, jax.Array], jax.Array]
# Returns logits that broadcast to the maps' shape.
Attention = Callable[[Maps, Layer], jax.Array]
Fuse = Callable[[jax.Array, jax.Array, Layer], jax.Array]


def channel_attention(maps: Maps, bottleneck: Layer) -> jax.Array:
    n, _, _, c = maps.sum_NxHxWxC.shape
    mean_NxC = jnp.mean(maps.sum_NxHxWxC, axis=(1, 2))
    return bottleneck("channel", mean_NxC).reshape(n, 1, 1, c)


def spatial_attention(maps: Maps, bottleneck: Layer) -> jax.Array:
    n, h, w, _ = maps.sum_NxHxWxC.shape
    mean_NxHW = jnp.mean(maps.sum_NxHxWxC, axis=3).reshape(n, h * w)
    return bottleneck("spatial", mean_NxHW).reshape(n, h, w, 1)


def local_attention(maps: Maps, bottleneck: Layer) -> jax.Array:
    return bottleneck("local", maps.sum_NxHxWxC)


def weighted_by(*attentions: Attention) -> Fuse:
    """The fusion M ⊙ A + (1 − M) ⊙ B, where M is the sigmoid of the attentions' sum."""

    def fuse(a_NxHxWxC: jax.Array, b_NxHxWxC: jax.Array, bottleneck: Layer) -> jax.Array:
        maps = Maps(a_NxHxWxC, b_NxHxWxC, a_NxHxWxC + b_NxHxWxC)
        first, *others = (attention(maps, bottleneck) for attention in attentions)
        m = nn.sigmoid(sum(others, start=first))
        return m * a_NxHxWxC + (1 - m) * b_NxHxWxC

    return fuse


FUSIONS: dict[str, Fuse] = {
    "daff": weighted_by(channel_attention, spatial_attention),
    "aff": weighted_by(channel_attention, local_attention),
    "channel": weighted_by(channel_attention),
    "spatial": weighted_by(spatial_attention),
    "sum": lambda a_NxHxWxC, b_NxHxWxC, _: a_NxHxWxC + b_NxHxWxC,
    "concat": lambda a_NxHxWxC, b_NxHxWxC, _: jnp.concatenate([a_NxHxWxC, b_NxHxWxC], axis=-1),
}
Fusion = Annotated[str, one_of(FUSIONS)]


class AttentionFusion(nn.Module):
    """Fuses two feature maps (N, H, W, C) into one.

    Args:
      fusion: a key of `FUSIONS`: 'daff', 'aff', only their channel attention ('channel'), only
        DAFF's spatial attention ('spatial'), 'sum', or 'concat' (along channels, so the result has
        2 C).
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
        def bottleneck(name: str, x: jax.Array) -> jax.Array:
            layer = Bottleneck(self.reduction, self.dtype, self.axis_name, name=name)
            return layer(x, mask_N, train=train)

        return FUSIONS[self.fusion](a_NxHxWxC, b_NxHxWxC, bottleneck)
