"""Attentional fusions against their equations in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax.models.attention import AttentionFusion

N, H, W, C = 6, 2, 4, 8


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(N, H, W, C)).astype(np.float32) for _ in range(2)]


MASK = np.array([1, 1, 0, 1, 1, 0], bool)


def variables_for(fuse, maps):
    rng = np.random.default_rng(1)
    variables = fuse.init(jax.random.key(0), *maps, MASK, train=False)
    return jax.tree.map(lambda a: a + rng.uniform(0, 0.5, a.shape).astype("f4"), variables)


def bottleneck(x, params, stats, train):
    def norm(x, name):
        mean, var = stats[name]["mean"], stats[name]["var"]
        if train:
            present = x[MASK].reshape(-1, x.shape[-1])
            mean, var = present.mean(0), present.var(0)
        return (x - mean) / np.sqrt(var + 1e-5) * params[name]["scale"] + params[name]["bias"]

    def dense(x, name):
        return x @ params[name]["kernel"] + params[name]["bias"]

    hidden = np.maximum(norm(dense(x, "squeeze"), "squeeze_norm"), 0)
    return norm(dense(hidden, "excite"), "excite_norm")


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("fusion", ["daff", "aff", "channel", "spatial"])
def test_attention_equations(maps, fusion, train):
    fuse = AttentionFusion(fusion=fusion, reduction=4, axis_name=None)
    variables = variables_for(fuse, maps)
    y, _ = fuse.apply(variables, *maps, MASK, train=train, mutable=["batch_stats"])

    a, b, params, stats = jax.tree.map(
        lambda v: np.asarray(v, np.float64),
        (*maps, variables["params"], variables["batch_stats"]),
    )
    f = a + b
    logits = np.zeros((N, H, W, C))
    if fusion != "spatial":
        channel = bottleneck(f.mean((1, 2)), params["channel"], stats["channel"], train)
        logits += channel[:, None, None, :]
    if fusion == "aff":
        logits += bottleneck(f, params["local"], stats["local"], train)
    if fusion in ("daff", "spatial"):
        spatial = f.mean(3).reshape(N, H * W)  # time outside, frequency inside
        spatial = bottleneck(spatial, params["spatial"], stats["spatial"], train)
        logits += spatial.reshape(N, H, W)[..., None]
    m = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(y, m * a + (1 - m) * b, rtol=1e-4, atol=1e-5)


def test_sum_and_concat(maps):
    a, b = maps
    for fusion, expected in [("sum", a + b), ("concat", np.concatenate([a, b], axis=-1))]:
        fuse = AttentionFusion(fusion=fusion, axis_name=None)
        np.testing.assert_array_equal(fuse.apply({}, a, b, MASK, train=False), expected)


def test_attention_between_equal_maps_changes_nothing(maps):
    fuse = AttentionFusion(axis_name=None)
    variables = variables_for(fuse, maps)
    y = fuse.apply(variables, maps[0], maps[0], MASK, train=False)
    np.testing.assert_allclose(y, maps[0], rtol=1e-5, atol=1e-6)


def test_every_parameter_of_attentional_feature_fusion_has_a_gradient(maps):
    fuse = AttentionFusion(fusion="aff", axis_name=None)
    variables = variables_for(fuse, maps)
    weights = np.random.default_rng(2).normal(size=(N, H, W, C)).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradient(params):
        y, _ = fuse.apply(
            {**variables, "params": params}, *maps, MASK, train=True, mutable=["batch_stats"]
        )
        return jnp.sum((y * weights)[MASK])

    for path, grad in jax.tree.leaves_with_path(gradient(variables["params"])):
        name = jax.tree_util.keystr(path)
        before_norm = name.endswith(("['squeeze']['bias']", "['excite']['bias']"))
        assert np.isfinite(grad).all() and (np.any(grad) or before_norm), name
