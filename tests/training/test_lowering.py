"""Accelerators would compile every program, and devices exchange nothing but sums.

Nothing here runs on an accelerator: JAX lowers programs for platforms that are not there.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import optimizer_and_state

from damff_jax.benchmark import collectives, made_up
from damff_jax.models import create_model
from damff_jax.training import parallel, steps

F, M, T = 8, 16, 4
MODEL = {"name": "damff", "channels": (2, 3, 4), "hidden_size": 3}


@functools.cache
def setup(dtype, branches):
    axis_name = steps.AXIS_NAME
    model = create_model({**MODEL, "branches": branches}, dtype=dtype, axis_name=axis_name)
    optimizer, state = optimizer_and_state(model, (F, M))
    step = functools.partial(
        steps.train_step, model=model, optimizer=optimizer, loss_weights={"ccc_pooled": 1.0}
    )
    return model, state, step


def train(dtype, *, branches="a", per_device=1):
    _, state, step = setup(dtype, branches)
    batch = made_up.batch(4 * per_device, T, F, M, n_devices=4)
    mapped = parallel.map_train_step(functools.partial(steps.train_steps, step=step))
    return mapped.trace(state, batch)


def on_songs(dtype):
    _, state, step = setup(dtype, "a")
    of_crops = functools.partial(steps.train_steps_on_crops, step=step, crop_segments=T)
    mapped = parallel.map_train_step(of_crops, n_shared=1)
    crops = {name: np.ones((4, 1, 2), np.int32) for name in ("row", "n")}
    return mapped.trace(state, made_up.songs(2, 8, F, M).arrays(), crops)


def evaluate(dtype):
    model, state, _ = setup(dtype, "ab")
    mapped = parallel.map_eval_step(functools.partial(steps.eval_step, model=model))
    return mapped.trace(state.eval_variables(), np.zeros((4, T, F, M)), np.ones((4, T), bool))


def predict(dtype):
    """As `Predictor` does it: on one device, without an axis."""
    _, state, _ = setup(dtype, "ab")
    model = create_model(MODEL, dtype=dtype, axis_name=None)
    step = jax.jit(functools.partial(steps.eval_step, model=model))
    return step.trace(state.eval_variables(), np.zeros((2, T, F, M)), np.ones((2, T), bool))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("program", [train, on_songs, evaluate, predict])
def test_every_program_lowers_for_accelerators_without_custom_calls(program, dtype):
    traced = program(dtype)
    for platform in ("tpu", "cuda"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.dot_general" in text
        assert "custom_call" not in text
        assert ("xbf16>" in text) == (dtype == "bfloat16")
        assert ("stablehlo.all_reduce" in text) == (program in (train, on_songs))


def crossing(traced):
    """Types of the values that a program, as written, sends between devices, in their order."""
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    others = "all_gather|all_to_all|collective_permute|collective_broadcast|reduce_scatter"
    assert not re.search(rf"stablehlo\.({others})", text)
    found = re.findall(r'"stablehlo\.all_reduce".*?\}\) : \((.*?)\) ->', text, flags=re.DOTALL)
    assert len(found) == text.count("stablehlo.all_reduce")
    return found


def test_nothing_per_example_crosses_between_devices():
    """What crosses does not grow with the batch."""
    one, three = (crossing(train("float32", per_device=n)) for n in (1, 3))
    assert one == three
    assert len(one) > 30


def test_devices_exchange_the_gradients_once_and_some_sums():
    _, state, _ = setup("float32", "ab")
    compiled = train("float32", branches="ab").lower().compile()
    found = collectives.in_program(compiled.as_text())
    n_params = sum(x.size for x in jax.tree.leaves(state.params))
    assert {one.kind for one in found} == {"all-reduce"}
    assert 10 < len(found) <= 28
    assert 4 * n_params <= sum(one.n_bytes for one in found) <= 4 * n_params + 8 * 1024


def test_collectives_are_counted_with_their_bytes():
    """In a program of which both are known."""

    def step(state, batch):
        sums = jax.lax.psum((batch["x"], batch["n"]), steps.AXIS_NAME)
        everywhere = jax.lax.all_gather(batch["half"], steps.AXIS_NAME)
        return state + sums[0].sum() + sums[1].sum() + everywhere.sum(dtype=jnp.float32), None

    batch = {
        "x": np.zeros((4, 3, 5), np.float32),
        "n": np.zeros((4, 2), np.float32),
        "half": np.zeros((4, 8), jnp.float16),
    }
    mapped = parallel.map_train_step(step, way="shard_map")
    compiled = mapped.lower(np.float32(0), batch).compile()
    found = collectives.in_program(compiled.as_text())
    assert sorted({one.kind for one in found}) == ["all-gather", "all-reduce"]
    of_kind = {"all-reduce": 0, "all-gather": 0}
    for one in found:
        of_kind[one.kind] += one.n_bytes
    assert of_kind == {"all-reduce": 4 * (3 * 5 + 2), "all-gather": 4 * 8 * 2}
