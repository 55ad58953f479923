"""Model, optimiser, state and steps as in `train.py`, with all settings at their defaults."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn

from damff_jax.benchmark.settings import BenchmarkError, Variant
from damff_jax.models import create_model
from damff_jax.training import optim, parallel, steps, train_state
from damff_jax.training.parallel import MappedStep
from damff_jax.training.train_state import TrainState


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of crops and model; the defaults are the paper's.

    Attributes:
      segments, frames, n_mels: T, F, M of a crop.
      model: fields of the model that differ from their defaults.
    """

    segments: int = 60
    frames: int = 50
    n_mels: int = 128
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def model_config(self) -> dict[str, Any]:
        return {"name": "damff", **self.model}


PAPER = Sizes()
OPTIM = optim.OptimConfig()


def local_devices(n: int) -> list[jax.Device]:
    """The first n of this process's devices.

    Raises:
      BenchmarkError: there are fewer.
    """
    devices = jax.local_devices()
    if n > len(devices):
        raise BenchmarkError(f"{n} devices requested, but only {len(devices)} available")
    return devices[:n]


def first_state(model: nn.Module, sizes: Sizes, devices: list[jax.Device]) -> TrainState:
    """The state before the first step, on the devices."""
    state = train_state.create(
        model,
        _optimizer(),
        seed=0,
        segment_shape=(sizes.frames, sizes.n_mels),
        input_stats={"mean": np.full(sizes.n_mels, -30.0), "std": np.full(sizes.n_mels, 15.0)},
        with_ema=OPTIM.ema_decay > 0,
    )
    return parallel.replicate(state, devices=devices)


def build(variant: Variant, sizes: Sizes) -> tuple[nn.Module, TrainState, Callable]:
    """The model, the first state on the variant's devices, and the step of one device."""
    devices = local_devices(variant.n_devices)
    model = create_model(sizes.model_config(), dtype=variant.dtype, axis_name=steps.AXIS_NAME)
    step = functools.partial(
        steps.train_step,
        model=model,
        optimizer=_optimizer(),
        loss_weights={"ccc_pooled": 1.0},
        ema_decay=OPTIM.ema_decay,
        seed=0,
    )
    return model, first_state(model, sizes, devices), step


def train_step(step: Callable, devices: list[jax.Device]) -> MappedStep:
    """The step on devices, which takes batches."""
    return parallel.map_train_step(functools.partial(steps.train_steps, step=step), devices=devices)


def eval_step(model: nn.Module, devices: list[jax.Device]) -> MappedStep:
    return parallel.map_eval_step(functools.partial(steps.eval_step, model=model), devices=devices)


def _optimizer() -> optax.GradientTransformation:
    return optim.make_optimizer(OPTIM, optim.learning_rate_schedule(OPTIM, 3000))
