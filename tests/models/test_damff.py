"""The whole model: sizes, ablations, padding, devices, dropout."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import BATCH, MELS, SEGMENTS, batch, loss_and_grads, random_variables

from damff_jax.models.damff import DAMFF

# Name, fields, and the number of parameters at 50 frames × 128 Mel bins.
ABLATIONS = {
    "damff": ({}, 188_819),
    "aff": ({"fusion": "aff"}, 188_819 - 19_152 + 2_288),
    "channel attention": ({"fusion": "channel"}, 188_819 - 19_152),
    "spatial attention": ({"fusion": "spatial"}, 188_819 - 2_288),
    "sum": ({"fusion": "sum"}, 188_819 - 21_440),
    "concat": ({"fusion": "concat"}, 188_819 - 21_440 + 64),
    "branch a": ({"branches": "a"}, 68_659),
    "branch b": ({"branches": "b"}, 82_979),
    "join channels": ({"join": "channel"}, 142_123),
    "lstm": ({"sequence": "lstm"}, 188_819 - 46_272 - 96),
    "no sequence model": ({"sequence": "none"}, 188_819 - 92_544 - 96 * 2 + 192 * 2),
    "squeeze to 8": ({"squeeze_channels": 8}, 188_819 + 7 * 65 + 2 * 7 * 192 * 192),
    "hidden 32": ({"hidden_size": 32}, 188_819 - 92_544 + 57_600 - 32 * 2),
    "reduction 8": ({"reduction": 8}, 188_819 - 21_440 + 1_240 + 9_864),
    "context": ({"context_size": 64}, 188_819 + 2 * 192 * 64 + 64 + 2 * 64 * 192),
    "dropout": ({"dropout_rate": 0.3}, 188_819),
    "bfloat16": ({"dtype": jnp.bfloat16}, 188_819),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_parameter_count(name):
    """At 50 × 128 DAMFF has 188,819 parameters:

    stage 1     (5 + 3) · 8 weights, and per branch 8 biases and 2 · 8 of BN        112
    stage 2     (25 + 9) · 8 · 16, and 2 · (16 + 32)                              4,448
    stage 3     (9 + 25) · 32 · 64, and 2 · (64 + 128)                           70,016
    channel     64 · 16 + 16 + 2 · 16 + 16 · 64 + 64 + 2 · 64                     2,288
    spatial     192 · 48 + 48 + 2 · 48 + 48 · 192 + 192 + 2 · 192                19,152
    squeeze     64 + 1                                                               65
    BiLSTM      2 · (192 · 192 + 48 · 192 + 192)                                 92,544
    head        96 · 2 + 2                                                          194

    that is 188,435 and the 2 · 192 LSTM biases. A PyTorch build has 189,203, because it keeps
    two LSTM biases, as cuDNN does.
    """
    fields, expected = ABLATIONS[name]
    model = DAMFF(**fields)
    log_mel, mask = jnp.zeros((1, 1, 50, 128)), jnp.ones((1, 1), bool)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), log_mel, mask, train=False))
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == expected
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))


# Each ablation at least once; combined where independent, because compiling is slow.
# The gradients of 'aff' are in test_attention.py.
COMBINATIONS = [
    {},
    {"fusion": "channel", "sequence": "lstm"},
    {"fusion": "spatial", "join": "channel", "reduction": 8},
    {"fusion": "concat", "squeeze_channels": 8, "dropout_rate": 0.3},
    {"fusion": "sum", "sequence": "none"},
    {"branches": "a", "hidden_size": 32},
    {"branches": "b", "sequence": "none"},
    {"dtype": jnp.bfloat16},
]


@pytest.mark.parametrize("fields", COMBINATIONS, ids=str)
def test_ablations_train(fields):
    model = DAMFF(**fields, axis_name=None)
    log_mel, labels, mask = batch()
    variables = random_variables(model, log_mel, mask)
    step = jax.jit(lambda variables: loss_and_grads(model, variables, log_mel, labels, mask))
    (loss, (y, updates)), grads = step(variables)
    assert y.shape == (BATCH, SEGMENTS, 2) and y.dtype == jnp.float32
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((loss, y, updates, grads)))
    # Every parameter has a gradient, except biases that batch normalisation cancels.
    for path, grad in jax.tree.leaves_with_path(grads):
        name = jax.tree_util.keystr(path)
        assert np.any(grad) or name.endswith("bias']"), name


def test_bfloat16_is_near_float32():
    log_mel, _, mask = batch()
    variables = random_variables(DAMFF(), log_mel, mask)
    single, half = (
        jax.jit(partial(DAMFF(dtype=dtype).apply, train=False))(variables, log_mel, mask)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, single, atol=3e-2)


def test_nan_in_padding_changes_nothing():
    model = DAMFF(axis_name=None)
    log_mel, labels, mask = batch()
    mask[0, 0] = False
    variables = random_variables(model, log_mel, mask)
    step = jax.jit(lambda *args: loss_and_grads(model, variables, *args))
    (loss, (y, updates)), grads = step(log_mel, labels, mask)
    log_mel[~mask] = np.nan
    (nan_loss, (nan_y, nan_updates)), nan_grads = step(log_mel, labels, mask)
    np.testing.assert_array_equal(nan_y, y)
    assert np.isfinite(loss)
    jax.tree.map(
        np.testing.assert_array_equal, (nan_loss, nan_updates, nan_grads), (loss, updates, grads)
    )
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_two_devices_equal_one():
    log_mel, labels, mask = batch(b=4, t=6)
    one, two = DAMFF(axis_name=None), DAMFF(axis_name="batch")
    variables = random_variables(one, log_mel, mask)
    (loss, (y, updates)), grads = jax.jit(
        lambda: loss_and_grads(one, variables, log_mel, labels, mask)
    )()

    def device(*shard):
        (loss, (y, updates)), grads = loss_and_grads(two, variables, *shard)
        return jax.lax.psum((loss, grads), "batch"), y, updates

    shards = (a.reshape(2, 2, *a.shape[1:]) for a in (log_mel, labels, mask))
    over_devices = jax.vmap(device, out_axes=(None, 0, None), axis_name="batch")
    (loss_, grads_), y_, updates_ = jax.jit(over_devices)(*shards)

    np.testing.assert_allclose(y_.reshape(y.shape)[mask], y[mask], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss_, loss, rtol=1e-5)
    largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(grads))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * largest), grads_, grads
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), updates_, updates
    )


def test_segments_see_each_other_only_through_the_sequence_model():
    log_mel, _, mask = batch()
    for sequence, reach in [("none", (False, False)), ("lstm", (False, True))]:
        model = DAMFF(sequence=sequence)
        variables = random_variables(model, log_mel, mask)
        apply = jax.jit(lambda x, m=model, v=variables: m.apply(v, x, mask, train=False))
        changed = log_mel.copy()
        changed[0, 1] += 1
        moved = np.any(apply(changed) != apply(log_mel), axis=-1)
        assert tuple(moved[0]) == (reach[0], True, reach[1])
        assert not moved[1].any()


def test_input_statistics_standardise_every_mel_bin():
    model = DAMFF()
    log_mel, _, mask = batch()
    variables = random_variables(model, log_mel, mask)
    variables["input_stats"] = {"mean": np.zeros(MELS, "f4"), "std": np.ones(MELS, "f4")}
    mean, std = np.linspace(-40, -20, MELS, dtype="f4"), np.linspace(5, 15, MELS, dtype="f4")
    scaled = {**variables, "input_stats": {"mean": mean, "std": std}}
    y = model.apply(variables, log_mel, mask, train=False)
    z = model.apply(scaled, log_mel * std + mean, mask, train=False)
    np.testing.assert_allclose(z, y, rtol=1e-4, atol=1e-5)


def test_dropout_only_in_training():
    model = DAMFF(dropout_rate=0.5, axis_name=None)
    log_mel, _, mask = batch()
    variables = random_variables(model, log_mel, mask)

    @jax.jit
    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(
            variables, log_mel, mask, train=True, mutable=["batch_stats"], rngs=rngs
        )[0]

    np.testing.assert_array_equal(train(0), train(0))
    assert np.any(train(0) != train(1))
    plain = DAMFF(axis_name=None).apply(variables, log_mel, mask, train=False)
    np.testing.assert_array_equal(model.apply(variables, log_mel, mask, train=False), plain)


def test_the_context_informs_every_segment_of_all_present_ones():
    log_mel, _, mask = batch(b=1, t=4)
    mask[0, 3] = False

    def change_in_segment_2(changed, **fields):
        model = DAMFF(channels=(2, 2, 4), sequence="none", axis_name=None, **fields)
        variables = random_variables(model, log_mel, mask)
        other = log_mel.copy()
        other[0, changed] += 1
        before, after = (model.apply(variables, x, mask, train=False) for x in (log_mel, other))
        return float(jnp.abs(after - before)[0, 2].max())

    assert change_in_segment_2(0) == 0
    assert change_in_segment_2(0, context_size=3) > 1e-4
    assert change_in_segment_2(3, context_size=3) == 0  # It is padding.
