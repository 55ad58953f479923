"""Convolution and max-pooling as the model's blocks use them.

Letters: N segments (batch × time), H frames, W Mel bins, C channels in, D channels out.
"""

from collections.abc import Iterable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

Size = tuple[int, int]
Pads = tuple[Size, Size]
# How accelerators compute it, with equal results: XLA's own operation; a product over each kernel's
# taps; or one over the taps of all kernels, with zeros where a kernel has none.
Form = Literal["plain", "folded", "merged"]
# What the gradient of a convolution needs: its input and its kernels.
Residuals = tuple[jax.Array, list[jax.Array]]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d_same(
    x_NxHxWxC: jax.Array, kernels: list[jax.Array], form: Form = "plain"
) -> list[jax.Array]:
    """Convolves one input with several kernels (h, w, C, D), each 'same'-padded with stride 1.

    The kernels of a stage's branches are passed in one call, because on the CPU their gradients
    share work. XLA's own kernel gradients took more than half of a training step there. `form`
    has no effect on the CPU.
    """
    pads = [_same_pads(_size(kernel)) for kernel in kernels]
    return jax.lax.platform_dependent(
        x_NxHxWxC,
        kernels,
        cpu=partial(_cpu_convolutions, pads=pads),
        default=partial(_xla_convolutions, pads=pads, form=form),
    )


def _conv2d_same_forward(
    x_NxHxWxC: jax.Array, kernels: list[jax.Array], form: Form
) -> tuple[list[jax.Array], Residuals]:
    return conv2d_same(x_NxHxWxC, kernels, form), (x_NxHxWxC, kernels)


def _conv2d_same_backward(
    form: Form, residuals: Residuals, ys: list[jax.Array]
) -> tuple[jax.Array, list[jax.Array]]:
    x_NxHxWxC, kernels = residuals
    x_grad = jax.lax.platform_dependent(
        kernels, ys, cpu=_cpu_input_grad, default=partial(_xla_input_grad, x_NxHxWxC, form=form)
    )
    sizes = [_size(kernel) for kernel in kernels]
    kernel_grads = jax.lax.platform_dependent(
        x_NxHxWxC,
        ys,
        cpu=partial(_kernel_grads, sizes=sizes),
        default=partial(_xla_kernel_grads, kernels, form=form),
    )
    return x_grad, kernel_grads


conv2d_same.defvjp(_conv2d_same_forward, _conv2d_same_backward)


def _size(kernel: jax.Array) -> Size:
    h, w, *_ = kernel.shape
    return h, w


def _same_pads(size: Size) -> Pads:
    h, w = size
    return ((h - 1) // 2, h // 2), ((w - 1) // 2, w // 2)


def _flipped_pads(size: Size) -> Pads:
    (top, bottom), (left, right) = _same_pads(size)
    return (bottom, top), (right, left)


# ---------------------------------------------------------------------------------- accelerators


def _xla_convolutions(
    x_NxHxWxC: jax.Array, kernels: list[jax.Array], *, pads: list[Pads], form: Form = "plain"
) -> list[jax.Array]:
    if form == "merged":
        return _product_of_taps(x_NxHxWxC, kernels)
    if form == "folded":
        return [_product_of_taps(x_NxHxWxC, [kernel])[0] for kernel in kernels]
    return [_convolution(x_NxHxWxC, k, (1, 1), p) for k, p in zip(kernels, pads, strict=True)]


def _product_of_taps(x_NxHxWxC: jax.Array, kernels: list[jax.Array]) -> list[jax.Array]:
    """Convolutions as one matrix product, which contracts taps and channels together.

    A matrix unit is 128 wide. The few channels of a convolution fill little of it: those of all
    taps fill its rows, and the outputs of all kernels its columns.
    """
    _, h, w, _ = x_NxHxWxC.shape
    by_tap = [
        dict(zip(_taps(_size(kernel)), kernel.reshape(-1, *kernel.shape[2:]), strict=True))
        for kernel in kernels
    ]
    taps = sorted(set().union(*by_tap))
    reach_h, reach_w = (max(abs(tap[axis]) for tap in taps) for axis in (0, 1))
    padded = jnp.pad(x_NxHxWxC, ((0, 0), (reach_h, reach_h), (reach_w, reach_w), (0, 0)))
    patches = jnp.concatenate(
        [padded[:, reach_h + i : reach_h + i + h, reach_w + j : reach_w + j + w] for i, j in taps],
        axis=-1,
    )
    zero_CxD = jnp.zeros_like(kernels[0][0, 0])
    columns = [jnp.concatenate([of.get(tap, zero_CxD) for tap in taps]) for of in by_tap]
    return jnp.split(patches @ jnp.concatenate(columns, axis=-1), len(kernels), axis=-1)


def _taps(size: Size) -> list[Size]:
    """The points of a kernel, row by row, as offsets from its centre."""
    h, w = size
    return [(i - (h - 1) // 2, j - (w - 1) // 2) for i in range(h) for j in range(w)]


def _xla_input_grad(
    x_NxHxWxC: jax.Array, kernels: list[jax.Array], ys: list[jax.Array], *, form: Form = "plain"
) -> jax.Array:
    pads = [_same_pads(_size(kernel)) for kernel in kernels]
    convolve = partial(_xla_convolutions, pads=pads, form=form)
    return jax.vjp(lambda x: convolve(x, kernels), x_NxHxWxC)[1](ys)[0]


def _xla_kernel_grads(
    kernels: list[jax.Array], x_NxHxWxC: jax.Array, ys: list[jax.Array], *, form: Form = "plain"
) -> list[jax.Array]:
    pads = [_same_pads(_size(kernel)) for kernel in kernels]
    convolve = partial(_xla_convolutions, x_NxHxWxC, pads=pads, form=form)
    return jax.vjp(convolve, kernels)[1](ys)[0]


def _convolution(x_NxHxWxC: jax.Array, kernel: jax.Array, strides: Size, pads: Pads) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x_NxHxWxC, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


# ---------------------------------------------------------------------------------- the CPU


def _cpu_convolutions(
    x_NxHxWxC: jax.Array, kernels: list[jax.Array], *, pads: list[Pads]
) -> list[jax.Array]:
    convolve = _shifted_sum if x_NxHxWxC.shape[-1] == 1 else _folded_convolution
    return [convolve(x_NxHxWxC, k, p) for k, p in zip(kernels, pads, strict=True)]


def _cpu_input_grad(kernels: list[jax.Array], ys: list[jax.Array]) -> jax.Array:
    """The convolution of the outputs' gradients with the flipped kernels."""
    pads = [_flipped_pads(_size(kernel)) for kernel in kernels]
    flipped = [kernel[::-1, ::-1].swapaxes(2, 3) for kernel in kernels]
    return _sum(_folded_convolution(y, k, p) for y, k, p in zip(ys, flipped, pads, strict=True))


def _shifted_sum(x_NxHxWx1: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """The convolution of a single channel, where a matrix product would only be overhead."""
    _, h, w, _ = x_NxHxWx1.shape
    padded = jnp.pad(x_NxHxWx1, ((0, 0), *pads, (0, 0)))
    return _sum(
        padded[:, i : i + h, j : j + w] * kernel[i, j]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    """The sum of one or more terms."""
    total = sum(terms)
    assert isinstance(total, jax.Array)
    return total


def _folded_convolution(x_NxHxWxC: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """A convolution that computes two columns at once if its output has few channels.

    Its matrix product then has twice the columns, which fill the vector registers. The kernel
    becomes one column wider, and its stride two.
    """
    n, h, w, _ = x_NxHxWxC.shape
    d = kernel.shape[-1]
    if d >= 32 or w % 2:
        return _convolution(x_NxHxWxC, kernel, (1, 1), pads)
    columns = [jnp.pad(kernel, ((0, 0), (i, 1 - i), (0, 0), (0, 0))) for i in range(2)]
    y = _convolution(x_NxHxWxC, jnp.concatenate(columns, axis=-1), (1, 2), pads)
    return y.reshape(n, h, w, d)


def _kernel_grads(x_NxHxWxC: jax.Array, ys: list[jax.Array], sizes: list[Size]) -> list[jax.Array]:
    """Gradients of the kernels, given those of the outputs, as matrix products over patches.

    A tap is a point of a kernel, as an offset from its centre. Taps that the same kernels share are
    gathered once, and multiplied by the gradients of those kernels in one product. The products
    are computed image by image, so that the patches, up to 25 times the image, stay in the cache.
    """
    _, h, w, c = x_NxHxWxC.shape
    taps = [_taps(size) for size in sizes]
    sharers: dict[tuple[int, ...], list[Size]] = {}  # the kernels that share some taps → these taps
    for tap in sorted(set().union(*taps)):
        sharers.setdefault(tuple(k for k in range(len(taps)) if tap in taps[k]), []).append(tap)
    reach_h, reach_w = (max(size[axis] for size in sizes) // 2 for axis in (0, 1))

    def add_image(sums, image):
        x_HxWxC, ys = image
        x_HxWxC = jnp.pad(x_HxWxC, ((reach_h, reach_h), (reach_w, reach_w), (0, 0)))
        for ks, shared in sharers.items():
            patches = [
                x_HxWxC[reach_h + i : reach_h + i + h, reach_w + j : reach_w + j + w]
                for i, j in shared
            ]
            sums[ks] += jax.lax.dot_general(
                jnp.concatenate([ys[k] for k in ks], axis=-1).reshape(h * w, -1),
                jnp.concatenate(patches, axis=-1).reshape(h * w, -1),
                (((0,), (0,)), ((), ())),
                preferred_element_type=jnp.float32,
            )
        return sums, None

    d = ys[0].shape[-1]
    zeros = {ks: jnp.zeros((len(ks) * d, len(shared) * c)) for ks, shared in sharers.items()}
    sums, _ = jax.lax.scan(add_image, zeros, (x_NxHxWxC, ys))

    by_tap: list[dict[Size, jax.Array]] = [{} for _ in sizes]
    for ks, shared in sharers.items():
        grads = sums[ks].reshape(len(ks), d, len(shared), c)
        for k, grad in zip(ks, grads, strict=True):
            by_tap[k] |= {tap: grad[:, i].T for i, tap in enumerate(shared)}
    return [
        jnp.stack([by_tap[k][tap] for tap in taps[k]]).reshape(*size, c, d).astype(x_NxHxWxC.dtype)
        for k, size in enumerate(sizes)
    ]


@jax.custom_vjp
def max_pool_2x2(x_NxHxWxC: jax.Array) -> jax.Array:
    """Maximum over 2 × 2 windows, stride 2; an odd last row or column is left out.

    The gradient goes to the first of equal maxima. A byte per window stores which that was: XLA's
    select-and-scatter searches the windows again, slowly on the CPU.
    """
    return _max_pool_2x2_forward(x_NxHxWxC)[0]


def _max_pool_2x2_forward(x_NxHxWxC):
    n, h, w, c = x_NxHxWxC.shape
    windows = x_NxHxWxC[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    p, q, r, s = (windows[:, :, i, :, j] for i in (0, 1) for j in (0, 1))
    upper, lower = jnp.maximum(p, q), jnp.maximum(r, s)
    where = jnp.where(upper >= lower, jnp.where(p >= q, 0, 1), jnp.where(r >= s, 2, 3))
    return jnp.maximum(upper, lower), (where.astype(jnp.uint8), (h, w))


def _max_pool_2x2_backward(residuals, y_grad):
    where, (h, w) = residuals
    n, half_h, half_w, c = where.shape
    corner = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
    spread = (slice(None), slice(None), None, slice(None), None)
    x_grad = jnp.where(where[spread] == corner, y_grad[spread], 0)
    x_grad = x_grad.reshape(n, 2 * half_h, 2 * half_w, c)
    return (jnp.pad(x_grad, ((0, 0), (0, h - 2 * half_h), (0, w - 2 * half_w), (0, 0))),)


max_pool_2x2.defvjp(_max_pool_2x2_forward, _max_pool_2x2_backward)
