"""Multi-scale convolution: two branches with different kernels over each segment's log-Mel.

DAMFF's three stages (see `damff.py` for the sources of the architecture):

    stage 1   a: 1→8 (1, 5)     b: 1→8 (3, 1)      concatenated along time
    stage 2   a: 8→16 (5, 5)    b: 8→16 (3, 3)     concatenated along channels
    stage 3   a: 32→64 (3, 3)   b: 32→64 (5, 5)    returned as two feature maps

Each block is convolution ('same') → batch normalisation → ReLU → 2 × 2 max-pool. Kernels are
(time, frequency). Letters: N segments, H time, W frequency, C channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.fields import Kernel
from damff_jax.models.kernels.convolution import Form, conv2d_same, max_pool_2x2
from damff_jax.models.normalization import BatchNorm


class ConvStage(nn.Module):
    """One stage: a convolution block per kernel, all reading the same input."""

    channels: int
    kernels: dict[str, Kernel]
    convolution: Form = "plain"
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(self, x_NxHxWxC: jax.Array, mask_N: jax.Array, *, train: bool) -> list[jax.Array]:
        in_channels = x_NxHxWxC.shape[-1]
        kernels = [
            self.param(
                f"{name}_kernel",
                nn.initializers.he_normal(),
                (*size, in_channels, self.channels),
            ).astype(self.dtype)
            for name, size in self.kernels.items()
        ]
        maps = []
        ys = conv2d_same(x_NxHxWxC, kernels, self.convolution)
        for name, y in zip(self.kernels, ys, strict=True):
            bias = self.param(f"{name}_bias", nn.initializers.zeros, (self.channels,))
            norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=f"{name}_norm")
            gain, shift = norm.gain_and_shift(y, mask_N, train=train, x_bias=bias)
            # Max-pooling commutes with an increasing function. So it comes first, and leaves a
            # quarter of the points for normalisation and ReLU. A negative gain needs the minimum.
            sign = jnp.where(gain < 0, -1, 1).astype(y.dtype)
            maps.append(nn.relu(max_pool_2x2(y * sign) * (sign * gain) + shift))
        return maps


class MultiScaleBranches(nn.Module):
    """The three stages; returns one feature map (N, H, W, C) per branch.

    Args:
      kernels: (time, frequency) sizes of the three stages, by branch; a single branch has one
        scale and nothing to concatenate.
      channels: output channels per branch of the three stages.
      convolution: how accelerators compute it, see `kernels.convolution.Form`.
      join: axis of the concatenation after stage 1: 'time' as in DAMFF, or 'channel'.
    """

    kernels: Mapping[str, Sequence[Kernel]]
    channels: Sequence[int] = (8, 16, 64)
    join: Literal["time", "channel"] = "time"
    convolution: Form = "plain"
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(self, x_NxHxWxC: jax.Array, mask_N: jax.Array, *, train: bool) -> list[jax.Array]:
        stages = [
            ConvStage(
                channels=self.channels[i],
                kernels={name: sizes[i] for name, sizes in self.kernels.items()},
                convolution=self.convolution,
                dtype=self.dtype,
                axis_name=self.axis_name,
                name=f"stage{i + 1}",
            )
            for i in range(3)
        ]
        join_axis = {"time": 1, "channel": 3}[self.join]
        x_NxHxWxC = jnp.concatenate(stages[0](x_NxHxWxC, mask_N, train=train), axis=join_axis)
        x_NxHxWxC = jnp.concatenate(stages[1](x_NxHxWxC, mask_N, train=train), axis=3)
        return stages[2](x_NxHxWxC, mask_N, train=train)
