"""The baselines: padding, devices, gradients, statistics, fields."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import BATCH, MELS, SEGMENTS, batch, loss_and_grads, random_variables

from damff_jax.models import MODELS, create_model
from damff_jax.models.inputs import deltas, window_statistics

SMALL = {
    "cnn_bigru": {"channels": 3, "dense_size": 6, "hidden_size": 4, "dropout_rate": 0.3},
    "cnn_bilstm": {"channels": (2, 3, 4), "hidden_size": 4, "dropout_rate": 0.3},
    "frame_bilstm": {"dense_size": 6, "hidden_size": 4, "dropout_rate": 0.3},
}
SOLVED = ("constant", "ridge")


def small(name, *, dtype="float32", axis_name=None, **changes):
    fields = {"name": name} | SMALL.get(name, {}) | changes
    return create_model(fields, dtype=dtype, axis_name=axis_name)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_finite_whatever_the_padding_holds(name):
    model = small(name)
    log_mel, labels, mask = batch()
    mask[0, 0] = False
    variables = random_variables(model, log_mel, mask)
    step = jax.jit(lambda log_mel: loss_and_grads(model, variables, log_mel, labels, mask))
    (loss, (y, updates)), grads = step(log_mel)
    assert y.shape == (BATCH, SEGMENTS, 2) and y.dtype == jnp.float32
    for path, grad in jax.tree.leaves_with_path(grads):
        path = jax.tree_util.keystr(path)
        # Batch normalisation cancels the convolutions' biases.
        assert np.any(grad) or path.endswith("a_bias']"), path
    log_mel[~mask] = np.nan
    (nan_loss, (nan_y, nan_updates)), nan_grads = step(log_mel)
    jax.tree.map(
        np.testing.assert_array_equal,
        (nan_loss, nan_y, nan_updates, nan_grads),
        (loss, y, updates, grads),
    )
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((loss, y, updates, grads)))


@pytest.mark.parametrize("name", [*SMALL, *SOLVED])
def test_padding_and_the_scale_of_the_input_do_not_matter(name):
    """A padded song with statistics equals an unpadded one with trivial statistics."""
    model = small(name)
    log_mel, _, mask = batch(t=5)
    variables = random_variables(model, log_mel, mask)
    apply = jax.jit(lambda *args: model.apply(*args, train=False))
    variables["input_stats"] = {"mean": np.zeros(MELS, "f4"), "std": np.ones(MELS, "f4")}
    y = apply(variables, log_mel, np.ones_like(mask))

    mean, std = np.linspace(-40, -20, MELS, dtype="f4"), np.linspace(5, 15, MELS, dtype="f4")
    variables["input_stats"] = {"mean": mean, "std": std}
    padded = np.full((BATCH, 9, *log_mel.shape[2:]), np.nan, "f4")
    padded[:, :5] = log_mel * std + mean
    z = apply(variables, padded, np.arange(9) < np.full((BATCH, 1), 5))
    np.testing.assert_allclose(z[:, :5], y, rtol=1e-4, atol=1e-5)


# The parts of 'cnn_bilstm' are DAMFF's, and tested there.
def test_statistics_span_the_devices():
    log_mel, _, mask = batch(b=4, t=6)
    one, two = (small("cnn_bigru", axis_name=axis, dropout_rate=0.0) for axis in (None, "batch"))
    variables = random_variables(one, log_mel, mask)

    def device(model, *shard):
        return model.apply(variables, *shard, train=True, mutable=["batch_stats"])

    y, updates = jax.jit(partial(device, one))(log_mel, mask)
    shards = (a.reshape(2, 2, *a.shape[1:]) for a in (log_mel, mask))
    over_devices = jax.vmap(partial(device, two), out_axes=(0, None), axis_name="batch")
    y_, updates_ = jax.jit(over_devices)(*shards)
    np.testing.assert_allclose(y_.reshape(y.shape)[mask], y[mask], rtol=1e-4, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), updates_, updates
    )


@pytest.mark.parametrize("name", ["cnn_bigru", "frame_bilstm", "ridge"])
def test_bfloat16_is_near_float32(name):
    log_mel, _, mask = batch()
    variables = random_variables(small(name), log_mel, mask)
    single, half = (
        jax.jit(partial(small(name, dtype=dtype).apply, train=False))(variables, log_mel, mask)
        for dtype in ("float32", "bfloat16")
    )
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, single, atol=0 if name in SOLVED else 3e-2)


def test_the_branches_of_the_bigru_share_only_the_layers_before_them():
    model = small("cnn_bigru")
    log_mel, _, mask = batch()
    variables = random_variables(model, log_mel, mask)
    apply = jax.jit(
        lambda params: model.apply(variables | {"params": params}, log_mel, mask, train=False)
    )
    y = apply(variables["params"])
    for name, params in variables["params"].items():
        changed = variables["params"] | {name: jax.tree.map(lambda p: 0.9 * p, params)}
        moved = tuple(np.any(apply(changed) != y, axis=(0, 1)))
        branch = {"valence": (True, False), "arousal": (False, True)}
        assert moved == branch.get(name.split("_")[0], (True, True)), name


@pytest.mark.parametrize("window", [1, 3, 7, 0])
def test_window_statistics_are_those_of_the_present_frames(window):
    rng = np.random.default_rng(0)
    b, t, f, m = 2, 9, 4, 3
    # A large mean beside a small deviation, and a constant segment.
    x = (rng.normal(size=(b, t, f, m)) * 0.1 + rng.normal(0, 3, (m,))).astype(np.float32)
    x[0, 4] = 1.0
    mask = np.ones((b, t), bool)
    mask[1, [0, 3, 8]] = False
    x[~mask] = 0
    y = np.asarray(window_statistics(x, mask, window))
    for i in range(b):
        for j in np.flatnonzero(mask[i]):
            lo, hi = (0, t) if window == 0 else (max(j - window // 2, 0), j + window // 2 + 1)
            frames = x[i, lo:hi][mask[i, lo:hi]].reshape(-1, m).astype(np.float64)
            expected = np.concatenate([frames.mean(0), frames.std(0)])
            np.testing.assert_allclose(y[i, j], expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(y).all()


def test_deltas_are_central_differences_where_there_are_neighbours():
    x = np.array([1.0, 4.0, 2.0, 8.0, 5.0], np.float32).reshape(1, 5, 1)
    mask = np.array([[True, True, True, False, True]])
    expected = [(4 - 1) / 2, (2 - 1) / 2, (2 - 4) / 2, (5 - 2) / 2, 0]
    np.testing.assert_array_equal(deltas(x, mask)[0, :, 0], expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "constant", "windows": (1,)}, "model.windows: no such field"),
        ({"name": "ridge", "windows": ()}, "model.windows"),
        ({"name": "ridge", "windows": (1, 2)}, r"model.windows: \(1, 2\) are not window sizes"),
        ({"name": "ridge", "penalty": 0.0}, "model.penalty: 0.0 is not a positive penalty"),
        ({"name": "ridge", "penalties": [1.0, -1.0]}, "model.penalties"),
        ({"name": "cnn_bigru", "kernels_a": ((1, 1),) * 3}, "model.kernels_a: no such field"),
        ({"name": "cnn_bigru", "pieces": 0}, "model.pieces: 0 is not a positive integer"),
        ({"name": "cnn_bilstm", "channels": (1, 2)}, "model.channels"),
        ({"name": "frame_bilstm", "dropout_rate": 1.0}, r"model.dropout_rate: 1.0 is outside"),
        ({"name": "damff", "kernels_a": ((1, 5), (5, 5), (3, 3, 3))}, "model.kernels_a"),
        ({"name": "damff", "hidden_size": True}, "model.hidden_size: True"),
        ({"name": "svr"}, "model.name: 'svr'; available: " + ", ".join(MODELS)),
    ],
    ids=str,
)
def test_invalid_fields_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        create_model(config, dtype="float32", axis_name=None)
