import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax import optim, parallel, train_state
from damff_jax.checkpoint import (
    CheckpointError,
    Checkpoints,
    check_compatible,
    check_same_run,
    load_variables,
)
from damff_jax.features import FeatureConfig, FeatureMismatchError
from damff_jax.models import create_model

MODEL = {"name": "damff", "channels": (2, 2, 2), "sequence": "none", "branches": "a"}
META = {
    "config": {"model": {**MODEL, "channels": [2, 2, 2]}},
    "features": FeatureConfig(n_mels=8).to_json(),
    "identity": {"dataset": "deam/release", "seed": 0},
}


@functools.cache
def first_state(with_ema=False):
    config = optim.OptimConfig()
    optimizer = optim.make_optimizer(config, optim.learning_rate_schedule(config, 10))
    return train_state.create(
        create_model(MODEL, dtype="float32", axis_name=None),
        optimizer,
        seed=0,
        segment_shape=(8, 8),
        input_stats={"mean": np.arange(8.0), "std": np.ones(8)},
        with_ema=with_ema,
    )


def state_at(step, **kwargs):
    state = first_state(**kwargs)
    params = jax.tree.map(lambda x: x + step, state.params)
    return parallel.replicate(state.replace(step=jnp.int32(step), params=params))


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_latest_state_comes_back_bit_for_bit(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state_at(step), META)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(state_at(0), META)
    assert_equal(restored, state_at(2))
    parallel.assert_replicated(restored)


def test_nothing_saved_gives_none(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(state_at(0), META) is None


def test_leaving_waits_for_the_save(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(7), META)
    variables, meta = load_variables(tmp_path)
    assert meta["step"] == 7
    assert_equal(variables["params"], state_at(7).params)


def test_the_best_is_kept_over_later_worse_ones_and_over_restarts(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save_if_best(state_at(1), META, 0.5)
        assert checkpoints.save_if_best(state_at(2), META, 0.7)
        assert not checkpoints.save_if_best(state_at(3), META, 0.6)
        checkpoints.save(state_at(3), META)
    with Checkpoints(tmp_path) as checkpoints:
        assert not checkpoints.save_if_best(state_at(4), META, 0.69)
    variables, meta = load_variables(tmp_path)
    assert (meta["step"], meta["score"]) == (2, 0.7)
    assert_equal(variables["params"], state_at(2).params)
    assert_equal(variables["input_stats"]["mean"], np.arange(8.0))


def test_the_moving_average_is_what_predicts(tmp_path):
    state = state_at(5, with_ema=True)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, META)
    variables, _ = load_variables(tmp_path)
    for name in ("params", "batch_stats"):
        assert_equal(variables[name], state.averages[name])


def test_a_folder_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint of a training run"):
        load_variables(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("fusion", "sum", r"another model \(fusion: None there, sum here\)"),
        ("channels", (4, 4, 4), r"channels: \[2, 2, 2\] there, \[4, 4, 4\] here"),
    ],
)
def test_another_model_is_refused(tmp_path, field, value, shown):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
    other = {**META, "config": {"model": {**META["config"]["model"], field: value}}}
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match=shown):
        checkpoints.restore_latest(state_at(0), other)


def test_other_features_are_refused_and_both_are_shown(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
    other = {**META, "features": FeatureConfig(n_mels=9).to_json()}
    shown = r"(?s)n_mels=8.*n_mels=9"
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(FeatureMismatchError, match=shown):
        checkpoints.restore_latest(state_at(0), other)


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        ({"dataset": "deam/release", "seed": 1}, "another run (seed: 0 there, 1 here)"),
        ({"dataset": "deam/mediaeval2015", "seed": 0}, "deam/release there"),
    ],
)
def test_another_run_is_not_gone_on_with(tmp_path, identity, shown):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
    other = {**META, "identity": identity}
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match=re.escape(shown)),
    ):
        checkpoints.restore_latest(state_at(0), other)


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert not checkpoints.save_if_best(state_at(1), META, float("nan"))
        assert checkpoints.save_if_best(state_at(2), META, 0.7)
        assert not checkpoints.save_if_best(state_at(3), META, float("nan"))
        assert not checkpoints.save_if_best(state_at(4), META, 0.1)


def test_another_smoothing_is_another_run_of_the_same_model():
    smoothed = {**META, "config": {"model": {**META["config"]["model"], "smoothing": [5, 1]}}}
    check_compatible(META, smoothed)
    with pytest.raises(CheckpointError, match=r"another model \(smoothing: None there, \[5, 1\]"):
        check_same_run(META, smoothed)
