"""Convolution and max-pooling as the model's blocks use them.

Letters: N segments (batch × time), H frames, W Mel bins, C channels in, D channels out.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def conv2d_same(x_NxHxWxC: jax.Array, kernels: Sequence[jax.Array]) -> list[jax.Array]:
    """Convolves one input with several kernels (h, w, C, D), each 'same'-padded with stride 1.

    The kernels of a stage's branches come in one call, so that an implementation may share work.
    """
    return [
        jax.lax.conv_general_dilated(
            x_NxHxWxC, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for kernel in kernels
    ]


def max_pool_2x2(x_NxHxWxC: jax.Array) -> jax.Array:
    """Maximum over 2 × 2 windows, stride 2; an odd last row or column is left out."""
    n, h, w, c = x_NxHxWxC.shape
    x_NxHxWxC = x_NxHxWxC[:, : h // 2 * 2, : w // 2 * 2]
    return jnp.max(x_NxHxWxC.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))
