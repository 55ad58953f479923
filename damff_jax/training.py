"""Training a model on a data set's songs, step by step or in closed form, into a workdir."""

import contextlib
import dataclasses
import functools
import json
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from damff_jax import (
    calibration,
    closed_form,
    evaluation,
    metrics,
    parallel,
    preemption,
    processes,
    steps,
    train_state,
    weights,
)
from damff_jax.augmentation import AugmentConfig
from damff_jax.checkpoint import Checkpoints
from damff_jax.familiarity import Profile
from damff_jax.files import write_aside
from damff_jax.inference import Apply, Windowing
from damff_jax.metric_writer import MetricWriter
from damff_jax.optim import OptimConfig, learning_rate_schedule, make_optimizer
from damff_jax.preemption import Preempted
from damff_jax.train_log import NotFiniteError, TrainLog, banner
from damff_jax.train_state import TrainState
from input_pipeline import pipeline
from input_pipeline.datasets import Dataset


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training takes.

    Attributes:
      eval_step: `steps.eval_step` of the model on all devices.
      meta: see `run_config.checkpoint_meta`.
      start: variables to start from, see `weights.load`; None: the model's own, at random.
    """

    config: ConfigDict
    model: nn.Module
    data: Dataset
    eval_step: Callable
    workdir: Path
    meta: Mapping[str, Any]
    start: Mapping[str, Any] | None = None


def train(run: Run) -> None:
    """Trains from the workdir's latest checkpoint, or from the start, to the last step.

    Raises:
      Preempted: by a signal, after the step that it came in, which is saved.
      CheckpointError, FeatureMismatchError: the workdir holds another run.
      NotFiniteError: too many steps in a row gave no finite loss and gradient; the state before
        them is saved.
      ValueError: the numbers of steps do not fit together, or the songs not into the device.
    """
    config = run.config
    optim = OptimConfig(**config.optim)
    schedule = learning_rate_schedule(optim, config.num_train_steps)
    optimizer = make_optimizer(optim, schedule)
    songs = run.data.load("train")
    state = first_state(run, optimizer, songs, with_ema=optim.ema_decay > 0)

    # A signal waits for the end of the step and for all that is being saved. After the last step,
    # no process waits for another.
    with (
        preemption.deferred(processes.agreed) as preempted,
        open_workdir(run, state) as (checkpoints, restored),
    ):
        if restored is not None:
            state = restored
            print(f"going on from step {int(state.step)} of {run.workdir}")
        elif run.start is not None:
            state = state.warm_start(jax.tree.map(np.asarray, run.start))
        first_step = int(state.step)
        if first_step % config.steps_per_call:
            raise ValueError(
                f"{run.workdir} is at step {first_step}, no multiple of steps_per_call "
                f"{config.steps_per_call}"
            )

        banner("training")
        step = functools.partial(
            steps.train_step,
            model=run.model,
            optimizer=optimizer,
            loss_weights=config.loss.to_dict(),
            augment=AugmentConfig(**config.augment),
            ema_decay=optim.ema_decay,
            seed=config.seed,
            max_skipped_steps=config.max_skipped_steps,
        )
        crops = pipeline.Crops(
            songs,
            batch_size=config.batch_size,
            # Longer crops would be padding.
            crop_segments=min(config.data.crop_segments, int(songs.length.max())),
            seed=config.seed,
            first_step=first_step,
            steps_per_call=config.steps_per_call,
            n_devices=jax.local_device_count(),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        train_step, batches = feed(step, crops, on_device=config.data.on_device)
        validation_songs = load_validation_songs(run.data)
        stop_all = processes.Agreement()
        with open_metrics(run, first_step) as writer:
            log = TrainLog(
                writer,
                name=config.data.dataset,
                schedule=schedule,
                batch_size=config.batch_size,
                first_step=first_step,
                num_steps=config.num_train_steps,
                max_skipped_steps=config.max_skipped_steps,
            )
            n = config.steps_per_call
            try:
                for step in range(first_step + n, config.num_train_steps + 1, n):
                    state, step_metrics = train_step(state, next(batches))
                    last = step == config.num_train_steps
                    if step == first_step + n:
                        log.started(step, step_metrics)
                    if step % config.log_every_steps == 0 or last:
                        log.add(step, step_metrics)
                    if last and config.calibrate:
                        log.check(step, step_metrics)
                        state = calibrated(run, state, songs)

                    if validation_songs and (step % config.eval_every_steps == 0 or last):
                        log.check(step, step_metrics)
                        with log.pause():
                            summary, score = validate(run, state, validation_songs)
                            log.validation(step, summary)
                            if config.select == "best":
                                checkpoints.save_if_best(state, run.meta, score)
                    stopping = stop_all(preempted() > 0)
                    if step % config.checkpoint_every_steps == 0 or last or stopping:
                        log.check(step, step_metrics)
                        with log.pause():
                            # On the disk before a state that will not log it again.
                            writer.sync()
                            checkpoints.save(state, run.meta)
                    if stopping:
                        print(f"asked to stop: saving step {step}, to go on from there", flush=True)
                        # In other processes too than that which got the signal.
                        raise processes.agreed(Preempted(preempted() or signal.SIGTERM))
            except NotFiniteError:
                state = before_skipped(state)
                # A run goes on from whole calls alone.
                if int(state.step) % n == 0:
                    writer.sync()
                    checkpoints.save(state, run.meta)
                error = NotFiniteError(
                    f"step {int(state.step) + 1} and those after it gave no finite loss and "
                    f"gradient, more than max_skipped_steps {config.max_skipped_steps}; songs of "
                    f"that step: {', '.join(song_ids(crops, int(state.step)))}"
                )
                # All have seen the same metrics.
                raise processes.agreed(error) from None
    if processes.is_first():
        keep_profile(run, songs)


def keep_profile(run: Run, songs: pipeline.Songs) -> None:
    """Leaves in the workdir what the training songs sound like, so that other input can be told."""
    if run.data.heard is None and weights.load_profile(run.workdir) is None:
        profile = Profile.of_songs(song.log_mel_TxFxM for song in songs)
        if profile is not None:
            weights.save_profile(run.workdir, profile)


def calibrated(run: Run, state: TrainState, songs: pipeline.Songs) -> TrainState:
    """The state whose curves of the training songs have the labels' mean and deviation."""
    apply = functools.partial(run.eval_step, state.eval_variables())
    scale_V, shift_V = calibration.scale_and_shift(evaluate(run.config, apply, songs))
    scales = " and ".join(f"{scale:.3f}" for scale in scale_V)
    print(f"calibrated: valence and arousal scaled by {scales}")
    return calibration.rescale_head(state, scale_V, shift_V)


def before_skipped(state: TrainState) -> TrainState:
    """The state before the last steps that were skipped in a row, which changed nothing else."""
    n = state.skipped["in_a_row"]
    skipped = {"in_all": state.skipped["in_all"] - n, "in_a_row": jnp.zeros_like(n)}
    return state.replace(step=state.step - n, skipped=skipped)


def song_ids(crops: pipeline.Crops, step: int) -> list[str]:
    """The songs that the global batch after `step` steps has crops of, in the songs' order."""
    plan = pipeline.CropPlan(
        crops.songs.length,
        batch_size=crops.batch_size,
        crop_segments=crops.crop_segments,
        seed=crops.seed,
    )
    songs, _ = plan.crops(step)
    return [crops.songs.song_ids[song] for song in np.unique(songs)]


def solve(run: Run) -> None:
    """Trains a model that has a closed-form solution; a solution counts as a step.

    Validation chooses among the solutions as it does among the steps of a training.

    Raises:
      CheckpointError, FeatureMismatchError: the workdir holds another run.
    """
    config = run.config
    songs = run.data.load("train")
    state = first_state(run, optax.identity(), songs, with_ema=False)
    with open_workdir(run, state) as (checkpoints, restored):
        keep_profile(run, songs)
        if restored is not None:
            print(f"{run.workdir} holds the solution")
            return

        banner("solving")
        validation_songs = load_validation_songs(run.data)
        feature_step = functools.partial(closed_form.feature_step, model=run.model)
        solutions = closed_form.solutions(
            run.model,
            functools.partial(parallel.eval_step(feature_step), state.eval_variables()),
            songs,
            windowing=Windowing.of(config),
            batch_size=config.data.eval_batch_size,
            validated=validation_songs is not None,
        )
        best, chosen = -math.inf, state
        with MetricWriter(run.workdir, first_step=0) as writer:
            for step, solution in enumerate(solutions, start=1):
                values = {"params": solution.params, "batch_stats": solution.batch_stats}
                values = jax.tree.map(jnp.asarray, values)
                state = parallel.replicate(state.replace(step=jnp.int32(step), **values))
                if validation_songs is None:
                    print(f"{solution.description}, not validated: there are no validation songs")
                    chosen = state
                    continue
                summary, score = validate(run, state, validation_songs)
                writer.write(step, metrics.flatten(summary, "validation/"))
                v, a = (summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS)
                print(f"{solution.description}: validation CCC valence {v:.3f} arousal {a:.3f}")
                if score > best:
                    best, chosen = score, state
        if validation_songs is not None:
            checkpoints.save_if_best(chosen, run.meta, best)
        checkpoints.save(chosen, run.meta)


@contextlib.contextmanager
def open_workdir(run: Run, state: TrainState) -> Iterator[tuple[Checkpoints, TrainState | None]]:
    """The workdir's checkpoints, and the latest state in them, placed as `state` is.

    Raises:
      CheckpointError, FeatureMismatchError: it is of another run.
    """
    with contextlib.ExitStack() as stack:
        checkpoints, restored = processes.Silent(), None

        def restore() -> bool:
            nonlocal checkpoints, restored
            checkpoints = stack.enter_context(Checkpoints(run.workdir))
            restored = checkpoints.restore_latest(state, run.meta)
            with write_aside(run.workdir / "config.json") as file:
                json.dump(run.meta["config"], file, indent=2)
            return restored is not None

        if processes.from_first(restore):
            restored = processes.arrays_from_first(state if restored is None else restored)
        yield checkpoints, restored


def open_metrics(run: Run, first_step: int) -> MetricWriter | processes.Silent:
    """What writes the numbers, in the first process."""
    if not processes.is_first():
        return processes.Silent()
    return MetricWriter(run.workdir, first_step=first_step)


def first_state(
    run: Run, optimizer: optax.GradientTransformation, songs: pipeline.Songs, *, with_ema: bool
) -> TrainState:
    """The state before the first step, on all devices; tells of the model.

    Args:
      songs: of the training split.
    """
    banner("model")
    state = train_state.create(
        run.model,
        optimizer,
        seed=run.config.seed,
        segment_shape=run.data.segment_shape,
        input_stats=songs.mel_statistics(),
        with_ema=with_ema,
    )
    n_params = sum(x.size for x in jax.tree.leaves(state.params))
    device = jax.local_devices()[0].device_kind
    print(f"{run.config.model.name}: {n_params:,} parameters, {run.config.dtype}")
    of_processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    print(f"on {jax.device_count()} × {device}{of_processes}, JAX {jax.__version__}")
    return parallel.replicate(state)


def feed(
    step: Callable, crops: pipeline.Crops, *, on_device: bool
) -> tuple[Callable, Iterator[Any]]:
    """The train step on all devices, and what it takes for its batches."""
    if not on_device:
        train_step = parallel.train_step(functools.partial(steps.train_steps, step=step))
        return train_step, parallel.prefetch(pipeline.train_batches(crops))
    check_fits(crops.songs, jax.local_devices()[0])
    train_step = parallel.train_step_on_songs(
        step, crops.songs.arrays(), crop_segments=crops.crop_segments
    )
    return train_step, parallel.prefetch(crops.calls())


def check_fits(songs: pipeline.Songs, device: jax.Device) -> None:
    """Refuses a training split that would fill a device's memory.

    Raises:
      ValueError: it takes more than half of it.
    """
    size = sum(array.nbytes for array in songs.arrays().values())
    limit = (device.memory_stats() or {}).get("bytes_limit", math.inf)
    if size > limit / 2:
        raise ValueError(
            f"data.on_device: the training songs take {size / 2**30:.1f} GiB, and the device has "
            f"{limit / 2**30:.1f} GiB"
        )


def validate(run: Run, state: TrainState, songs: pipeline.Songs) -> tuple[dict[str, Any], float]:
    """A state's scores on the validation songs, and the one to choose by: the mean pooled CCC."""
    apply = functools.partial(run.eval_step, state.eval_variables())
    summary = metrics.summarize(evaluate(run.config, apply, songs))
    ccc_V = [summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS]
    return summary, float(np.mean(ccc_V))


def load_validation_songs(data: Dataset) -> pipeline.Songs | None:
    """The validation split, if the data set has one."""
    return data.load("validation") if "validation" in data.song_ids else None


def evaluate(config: ConfigDict, apply: Apply, songs: pipeline.Songs) -> dict[str, metrics.Curve]:
    """Curves of a split's songs, by song id."""
    return evaluation.evaluate(
        apply,
        songs,
        # Longer windows would be padding.
        windowing=Windowing.of(config).within(int(songs.length.max())),
        batch_size=config.data.eval_batch_size,
    )
