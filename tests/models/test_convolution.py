"""Convolution and max-pooling against XLA's own operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax.features import FeatureConfig
from damff_jax.models.kernels import convolution
from damff_jax.models.kernels.convolution import conv2d_same, max_pool_2x2
from damff_jax.run.checkpoint_errors import CheckpointError
from damff_jax.run.identity import check_same_run

IDENTITY = {"dataset": "songs/1"}


def conv_reference(x, kernels):
    return [
        jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )
        for kernel in kernels
    ]  # fmt: skip


def conv_case(sizes, n=7, height=6, width=10, c=3, d=4, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, height, width, c)).astype(dtype)
    kernels = [rng.normal(size=(*size, c, d)).astype(dtype) for size in sizes]
    weights = [rng.normal(size=(n, height, width, d)).astype(dtype) for _ in sizes]
    return x, kernels, weights


def outputs_and_grads(conv, x, kernels, weights):
    def loss(x, kernels):
        ys = conv(x, kernels)
        return sum(jnp.sum(y * w) for y, w in zip(ys, weights, strict=True)), ys

    (_, ys), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(x, kernels)
    return ys, grads


def assert_trees_close(actual, expected, relative):
    def check(a, b):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=relative * np.abs(b).max())

    jax.tree.map(check, actual, expected)


SIZES = [
    [(1, 5), (3, 1)],
    [(5, 5), (3, 3)],
    [(3, 3), (5, 5)],
    [(3, 3)],
    [(2, 4), (3, 2)],  # even: 'same' pads one more at the end
    [(7, 7)],  # larger than the map is high
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_convolution_and_its_gradients(sizes):
    case = conv_case(sizes)
    ys, grads = outputs_and_grads(conv2d_same, *case)
    expected_ys, expected_grads = outputs_and_grads(conv_reference, *case)
    assert_trees_close(ys, expected_ys, 1e-5)
    assert_trees_close(grads, expected_grads, 1e-4)


@pytest.mark.parametrize(
    "shape",
    [(1, 50, 8, 1, 4), (67, 5, 4, 2, 4), (3, 1, 1, 5, 4), (7, 6, 9, 3, 4), (2, 5, 6, 3, 33)],
)
def test_convolution_of_any_size(shape):
    case = conv_case([(3, 3), (5, 5)], *shape)
    ys, grads = outputs_and_grads(conv2d_same, *case)
    expected_ys, expected_grads = outputs_and_grads(conv_reference, *case)
    assert_trees_close(ys, expected_ys, 1e-5)
    assert_trees_close(grads, expected_grads, 1e-4)


@pytest.mark.parametrize(
    ("sizes", "form"),
    [
        *((sizes, "plain") for sizes in SIZES),
        *((SIZES[i], form) for i in (0, 4) for form in ("folded", "merged")),
    ],
    ids=str,
)
def test_the_code_path_of_accelerators(sizes, form):
    x, kernels, weights = conv_case(sizes)
    ys, (x_grad, kernel_grads) = outputs_and_grads(conv_reference, x, kernels, weights)
    pads = [convolution._same_pads(size) for size in sizes]

    @jax.jit
    def ours(x, kernels, weights):
        return (
            convolution._xla_convolutions(x, kernels, pads=pads, form=form),
            convolution._xla_input_grad(x, kernels, weights, form=form),
            convolution._xla_kernel_grads(kernels, x, weights, form=form),
        )

    our_ys, *our_grads = ours(x, kernels, weights)
    assert_trees_close(our_ys, ys, 1e-5)
    assert_trees_close(our_grads, [x_grad, kernel_grads], 1e-4)


@pytest.mark.parametrize(
    ("form", "counts"), [("plain", (6, 0)), ("folded", (0, 6)), ("merged", (0, 3))]
)
def test_a_form_says_what_accelerators_compile(form, counts):
    """Numbers of convolutions and of matrix products, for the outputs and both gradients."""
    x, kernels, weights = conv_case([(5, 5), (3, 3)])

    def loss(x, kernels):
        return sum(
            jnp.sum(y * w) for y, w in zip(conv2d_same(x, kernels, form), weights, strict=True)
        )

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    text = step.trace(x, kernels).lower(lowering_platforms=("tpu",)).as_text()
    assert (text.count("stablehlo.convolution("), text.count("stablehlo.dot_general ")) == counts


def test_a_form_makes_no_other_model():
    """Same parameters, and a checkpoint of one is one of the other."""
    plain, folded = ({"name": "damff", "convolution": form} for form in ("plain", "folded"))
    stored, wanted = (
        {"config": {"model": model}, "features": FeatureConfig().to_json(), "identity": IDENTITY}
        for model in (plain, folded)
    )
    check_same_run(stored, wanted)
    with pytest.raises(CheckpointError, match="hidden_size: 48 in the checkpoint, 3 here"):
        check_same_run(stored, {**wanted, "config": {"model": {**folded, "hidden_size": 3}}})


def test_convolution_in_bfloat16():
    case = conv_case([(3, 3), (5, 5)], dtype=jnp.bfloat16)
    exact = conv_case([(3, 3), (5, 5)], dtype=jnp.bfloat16)
    exact = jax.tree.map(lambda a: a.astype(np.float32), exact)
    ys, grads = outputs_and_grads(conv2d_same, *case)
    expected = outputs_and_grads(conv_reference, *exact)
    assert all(a.dtype == jnp.bfloat16 for a in jax.tree.leaves((ys, grads)))
    single = jax.tree.map(lambda a: a.astype(jnp.float32), (ys, grads))
    assert_trees_close(single, expected, 2e-2)


def test_convolution_under_vmap_and_scan():
    """Devices are a vmap in tests, and several steps in one call are a scan."""
    x, kernels, weights = conv_case([(3, 3), (5, 5)], n=6)
    _, (x_grad, kernel_grads) = outputs_and_grads(conv_reference, x, kernels, weights)

    def grads(x, weights):
        return outputs_and_grads(conv2d_same, x, kernels, weights)[1]

    shards = jax.tree.map(lambda a: a.reshape(3, 2, *a.shape[1:]), (x, weights))
    x_grads, shard_grads = jax.vmap(grads)(*shards)
    assert_trees_close(x_grads.reshape(x.shape), x_grad, 1e-4)
    assert_trees_close([g.sum(0) for g in shard_grads], kernel_grads, 1e-4)

    _, (x_grads, shard_grads) = jax.lax.scan(lambda _, xs: (None, grads(*xs)), None, shards)
    assert_trees_close(x_grads.reshape(x.shape), x_grad, 1e-4)
    assert_trees_close([g.sum(0) for g in shard_grads], kernel_grads, 1e-4)


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (3, 5, 7, 2), (1, 25, 64, 8), (2, 3, 2, 1)])
def test_max_pool_is_reduce_window(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)

    def reference(x):
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    y, pull = jax.vjp(max_pool_2x2, x)
    expected, expected_pull = jax.vjp(reference, x)
    np.testing.assert_array_equal(y, expected)
    cotangent = rng.normal(size=y.shape).astype(np.float32)
    np.testing.assert_array_equal(pull(cotangent)[0], expected_pull(cotangent)[0])


def test_max_pool_shares_out_the_gradient_of_a_tie():
    """However a tie is resolved, its window's gradient sums to the output's."""
    x = jnp.ones((1, 2, 2, 1))
    assert float(jax.grad(lambda x: max_pool_2x2(x).sum())(x).sum()) == 1.0
