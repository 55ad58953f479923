"""Pure train and eval steps, which run under `pmap` or, on one device, under `vmap`."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from damff_jax.training import augmentation, losses
from damff_jax.training.augmentation import AugmentConfig
from damff_jax.training.train_state import TrainState

AXIS_NAME = "batch"


def train_step(
    state: TrainState,
    batch: Mapping[str, jax.Array],
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss_weights: Mapping[str, float],
    augment: AugmentConfig | None = None,
    ema_decay: float = 0.0,
    seed: int = 0,
    max_skipped_steps: int = 10,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update from one device's part of the global batch.

    On every device the loss is that of the global batch, see `losses`; gradients are averaged over
    the devices, so state and metrics are equal on all of them. Randomness (dropout, augmentation)
    is a function of (seed, step, device).

    A step whose loss, gradients or statistics are not finite is skipped: it is counted, and changes
    nothing else. After more than `max_skipped_steps` consecutive ones, all further steps are
    skipped: the state stays as it was before the first of them until the host notices, see
    `TrainLog`.

    Args:
      batch: `log_mel` (B, T, F, M), `labels` and `label_mask` (B, T, V), `mask` (B, T); and, if the
        loss has a weight for a teacher, `teacher` (B, T, E) and `teacher_mask` (B, T).

    Returns:
      The next state, and the step's metrics: scalars by name.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    key = jax.random.fold_in(key, jax.lax.axis_index(AXIS_NAME))
    if augment is not None and not augment.is_off:
        key, augment_key = jax.random.split(key)
        batch = augmentation.augment(augment_key, batch, state.input_stats["mean"], augment)
    loss_of_params = functools.partial(
        _loss, state=state, batch=batch, key=key, model=model, weights=loss_weights
    )
    (loss, (batch_stats, args)), grads = jax.value_and_grad(loss_of_params, has_aux=True)(
        state.params
    )
    grads = jax.lax.pmean(grads, AXIS_NAME)
    updated = _updated(state, grads, batch_stats, optimizer, ema_decay)
    ccc_V = losses.ccc_pooled(*args, axis_name=AXIS_NAME)
    # The same on all devices, because its inputs are. No extra pass over the gradients is needed: a
    # norm is not finite if one of its terms is not.
    grad_norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    finite &= jnp.isfinite(optax.tree.norm(batch_stats))
    state = _taken_if(finite, updated, state, max_skipped_steps)
    return state, {
        "loss": loss,
        "rmse": jnp.sqrt(losses.mean_squared_error(*args, axis_name=AXIS_NAME)),
        "valence/ccc": ccc_V[0],
        "arousal/ccc": ccc_V[1],
        "grad_norm": grad_norm,
        "skipped": state.skipped["in_all"],
        "skipped_in_a_row": state.skipped["in_a_row"],
    }


def _loss(
    params: Any,
    *,
    state: TrainState,
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    model: nn.Module,
    weights: Mapping[str, float],
) -> tuple[jax.Array, tuple[Any, tuple[jax.Array, ...]]]:
    """The loss; the batch statistics after it, and the arguments of all losses and metrics."""
    variables = {
        "params": params,
        "batch_stats": state.batch_stats,
        "input_stats": state.input_stats,
    }
    prediction_BxTxV, updates = model.apply(
        variables,
        batch["log_mel"],
        batch["mask"],
        train=True,
        mutable=["batch_stats", losses.TEACHER],
        rngs={"dropout": key},
    )
    args = prediction_BxTxV, batch["labels"], batch["label_mask"]
    loss = losses.mixture(*args, weights, axis_name=AXIS_NAME)
    if weight := weights.get(losses.TEACHER):
        (taught_BxTxE,) = jax.tree.leaves(updates[losses.TEACHER])
        mask_BxTxE = jnp.broadcast_to(batch["teacher_mask"][..., None], taught_BxTxE.shape)
        error = losses.mean_squared_error(
            taught_BxTxE, batch["teacher"], mask_BxTxE, axis_name=AXIS_NAME
        )
        loss = loss + weight * error
    return loss, (updates.get("batch_stats", {}), args)


def _updated(
    state: TrainState,
    grads: Any,
    batch_stats: Any,
    optimizer: optax.GradientTransformation,
    ema_decay: float,
) -> TrainState:
    """The state after an update by these gradients, with the counters unchanged."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    averages = state.averages
    if averages is not None:
        # At first a mean over the steps so far, or the initial values would count for too long.
        decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
        trained = {"params": params, "batch_stats": batch_stats}
        averages = optax.incremental_update(trained, averages, 1 - decay)
    return state.replace(
        params=params, batch_stats=batch_stats, opt_state=opt_state, averages=averages
    )


def _taken_if(
    finite: jax.Array, updated: TrainState, state: TrainState, max_skipped_steps: int
) -> TrainState:
    """The updated state, or the previous one if the step is skipped; the step counts either way."""
    in_a_row = state.skipped["in_a_row"]
    taken = finite & (in_a_row <= max_skipped_steps)
    skipped = {
        "in_all": state.skipped["in_all"] + ~taken,
        "in_a_row": jnp.where(taken, 0, in_a_row + 1),
    }
    chosen = jax.tree.map(lambda new, old: jnp.where(taken, new, old), updated, state)
    return chosen.replace(step=state.step + 1, skipped=skipped)


def train_steps(
    state: TrainState, batches: Mapping[str, jax.Array], *, step: Callable
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Several updates in one call, so that the host need not start each of them.

    Args:
      batches: batches of `step`, stacked: (S, ...).
      step: `train_step` with its keyword arguments.

    Returns:
      The state after the last update, and its metrics.
    """
    n_steps = len(jax.tree.leaves(batches)[0])
    state, metrics = jax.lax.scan(step, state, batches, unroll=n_steps == 1)
    return state, {name: values[-1] for name, values in metrics.items()}


def train_steps_on_crops(
    state: TrainState,
    songs: Mapping[str, jax.Array],
    crops: Mapping[str, jax.Array],
    *,
    step: Callable,
    crop_segments: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """`train_steps` on crops of songs that are on the device: the same numbers.

    Args:
      songs: `log_mel` (rows, F, M), `labels` and `label_mask` (rows, V), all songs joined.
      crops: `row`, where a crop starts, and `n`, its segments without padding: int32 (S, B).
    """

    def step_on_crops(state, crops):
        t = jnp.arange(crop_segments, dtype=jnp.int32)
        mask_BxT = t < crops["n"][:, None]
        rows_BxT = crops["row"][:, None] + jnp.where(mask_BxT, t, 0)
        batch = {"mask": mask_BxT}
        for name, array in songs.items():
            values = jnp.take(array, rows_BxT, axis=0, mode="clip")
            present = mask_BxT.reshape(*mask_BxT.shape, *[1] * (array.ndim - 1))
            batch[name] = jnp.where(present, values, jnp.zeros((), array.dtype))
        return step(state, batch)

    return train_steps(state, crops, step=step_on_crops)


def eval_step(
    variables: Mapping[str, Any],
    log_mel_BxTxFxM: jax.Array,
    mask_BxT: jax.Array,
    *,
    model: nn.Module,
) -> jax.Array:
    """Valence and arousal (B, T, 2), float32; arbitrary at padding."""
    prediction_BxTxV = model.apply(variables, log_mel_BxTxFxM, mask_BxT, train=False)
    assert isinstance(prediction_BxTxV, jax.Array)  # No collection is mutable, so none is returned.
    return prediction_BxTxV
