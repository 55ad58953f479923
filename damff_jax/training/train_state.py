"""Everything that training changes, as one immutable tree."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct


class TrainState(struct.PyTreeNode):
    """The state between two steps.

    Attributes:
      step: int32 (), steps done.
      params, batch_stats, opt_state: of the model and the optimiser.
      input_stats: mean and standard deviation per Mel bin (M,), in dB; never trained.
      averages: moving averages of `params` and `batch_stats`, or None. The statistics are averaged
        too, because the current ones would not fit the averaged parameters.
      skipped: int32 (), steps without an update, see `steps.train_step`: the total, `in_all`, and
        the consecutive ones up to now, `in_a_row`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    input_stats: Any
    opt_state: Any
    averages: Any
    skipped: Any

    def eval_variables(self) -> dict[str, Any]:
        """The model's variables for evaluation and prediction."""
        return eval_variables(vars(self))

    def warm_start(self, variables: Mapping[str, Any]) -> "TrainState":
        """This state with another run's `eval_variables`, placed on this state's devices.

        The input statistics are replaced too, because the parameters were trained with them.
        """
        own = self.eval_variables()
        placed = jax.tree.map(
            lambda old, new: jax.device_put(new, old.sharding),
            own,
            {name: variables[name] for name in own},
        )
        averages = None if self.averages is None else _averages(placed)
        return self.replace(**placed, averages=averages)


def create(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    segment_shape: tuple[int, int],
    input_stats: Mapping[str, np.ndarray],
    with_ema: bool,
) -> TrainState:
    """The state before the first step.

    Args:
      segment_shape: (F, M), frames per segment and Mel bins.
      input_stats: `mean` and `std` (M,) of the training split.
    """
    log_mel = jnp.zeros((1, 1, *segment_shape), jnp.float32)
    mask = jnp.ones((1, 1), bool)
    variables = jax.jit(model.init, static_argnames="train")(
        jax.random.key(seed), log_mel, mask, train=False
    )
    params = variables["params"]
    trained = {"params": params, "batch_stats": variables.get("batch_stats", {})}
    return TrainState(
        # An array from the start: a Python 0 would make the step compile twice.
        step=jnp.zeros((), jnp.int32),
        **trained,
        input_stats={name: jnp.asarray(input_stats[name], jnp.float32) for name in ("mean", "std")},
        opt_state=optimizer.init(params),
        averages=_averages(trained) if with_ema else None,
        skipped={name: jnp.zeros((), jnp.int32) for name in ("in_all", "in_a_row")},
    )


def eval_variables(state: Mapping[str, Any]) -> dict[str, Any]:
    """The model's variables from a state's fields, as restored from a checkpoint."""
    trained = state.get("averages") or state
    return {
        "params": trained["params"],
        "batch_stats": trained["batch_stats"],
        "input_stats": state["input_stats"],
    }


def _averages(trained: Mapping[str, Any]) -> dict[str, Any]:
    """Initial averages; copies, because the step donates its state's buffers."""
    return {name: jax.tree.map(jnp.copy, trained[name]) for name in ("params", "batch_stats")}
