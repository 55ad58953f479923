"""The training loop: steps, and logging, validating and saving between them."""

import dataclasses
import functools
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from damff_jax.evaluation.shares import Share
from damff_jax.run import processes
from damff_jax.run.checkpoint import Checkpoints
from damff_jax.run.metric_writer import MetricWriter
from damff_jax.run.processes import Silent
from damff_jax.run.run import (
    Data,
    Run,
    curves_of,
    first_state,
    open_metrics,
    open_workdir,
    validate,
)
from damff_jax.run.train_log import NotFiniteError, TrainLog, banner
from damff_jax.songs import LabelledSongs, Songs
from damff_jax.system import preemption
from damff_jax.system.preemption import Preempted
from damff_jax.training import calibration, losses, parallel, steps
from damff_jax.training.augmentation import AugmentConfig
from damff_jax.training.crops import Crops
from damff_jax.training.optim import OptimConfig, learning_rate_schedule, make_optimizer
from damff_jax.training.train_state import TrainState


def train(run: Run, data: Data) -> None:
    """Trains from the workdir's latest checkpoint, or from the beginning, to the last step.

    Raises:
      Preempted: a signal has arrived; the step during which it came is saved.
      CheckpointError, FeatureMismatchError: the workdir holds another run.
      NotFiniteError: too many consecutive steps had a loss or gradient that is not finite; the
        state before them is saved.
      ValueError: the numbers of steps are inconsistent, or the songs do not fit into the device.
    """
    config = run.config
    optim = OptimConfig(**config.optim).scaled(config.batch_size)
    schedule = learning_rate_schedule(optim, config.num_train_steps)
    optimizer = make_optimizer(optim, schedule)
    state = first_state(run, data.train, optimizer, with_ema=optim.ema_decay > 0)

    # A signal is handled after the step, and after everything is saved. After the last step, no
    # process waits for another.
    with (
        preemption.deferred(processes.agreed) as preempted,
        open_workdir(run, state) as (checkpoints, restored),
    ):
        state = starting_state(run, state, restored)
        banner("training")
        crops = crops_of(run, data.train, first_step=int(state.step))
        with open_metrics(run, crops.first_step) as writer:
            log = TrainLog(
                writer,
                name=config.data.dataset,
                schedule=schedule,
                batch_size=config.batch_size,
                first_step=crops.first_step,
                num_steps=config.num_train_steps,
                max_skipped_steps=config.max_skipped_steps,
            )
            _Loop(run, data, crops, checkpoints, writer, log, preempted).train(state, optimizer)


def starting_state(run: Run, state: TrainState, restored: TrainState | None) -> TrainState:
    """The state that training starts or resumes from.

    Raises:
      ValueError: its step is within a call of several steps.
    """
    if restored is not None:
        state = restored
        print(f"resuming from step {int(state.step)} of {run.workdir}")
    elif run.start is not None:
        state = state.warm_start(jax.tree.map(np.asarray, run.start))
    if int(state.step) % run.config.steps_per_call:
        raise ValueError(
            f"{run.workdir} is at step {int(state.step)}, not a multiple of steps_per_call "
            f"{run.config.steps_per_call}"
        )
    return state


def crops_of(run: Run, songs: LabelledSongs, *, first_step: int) -> Crops:
    """The crops of the run from a given step on."""
    config = run.config
    return Crops(
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


@dataclasses.dataclass
class _Loop:
    run: Run
    data: Data
    crops: Crops
    checkpoints: Checkpoints | Silent
    writer: MetricWriter | Silent
    log: TrainLog
    preempted: Callable[[], int]

    def train(self, state: TrainState, optimizer: optax.GradientTransformation) -> None:
        config, n = self.run.config, self.run.config.steps_per_call
        train_step, batches = self.feed(optimizer)
        stop_all = processes.Agreement()
        first_step = int(state.step)
        try:
            for step in range(first_step + n, config.num_train_steps + 1, n):
                state, step_metrics = train_step(state, next(batches))
                if step == first_step + n:
                    self.log.started(step, step_metrics)
                state = self.after(step, state, step_metrics)
                stopping = stop_all(self.preempted() > 0)
                if self.is_due(step, config.checkpoint_every_steps) or stopping:
                    self.log.check(step, step_metrics)
                    with self.log.pause():
                        self.save(state)
                if stopping:
                    print(
                        f"stopping: step {step} is saved; training can resume from it", flush=True
                    )
                    # Also in the processes that did not get the signal.
                    raise processes.agreed(Preempted(self.preempted() or signal.SIGTERM))
        except NotFiniteError:
            raise self.not_finite(state) from None

    def is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.run.config.num_train_steps

    def after(self, step: int, state: TrainState, step_metrics: Mapping[str, Any]) -> TrainState:
        """Logs and validates a step; at the end, calibrates the state."""
        config = self.run.config
        if self.is_due(step, config.log_every_steps):
            self.log.add(step, step_metrics)
        if step == config.num_train_steps and config.calibrate:
            self.log.check(step, step_metrics)
            state = calibrated(self.run, state, self.data.train)
        if self.data.validation and self.is_due(step, config.eval_every_steps):
            self.log.check(step, step_metrics)
            with self.log.pause():
                summary, score = validate(self.run, state, self.data.validation)
                self.log.validation(step, summary, losses.of_summary(summary, config.loss))
                if config.select == "best":
                    self.checkpoints.save_if_best(state, self.run.meta, score)
        return state

    def save(self, state: TrainState) -> None:
        # The log first: a run that resumes from this state will not write it again.
        self.writer.sync()
        self.checkpoints.save(state, self.run.meta)

    def not_finite(self, state: TrainState) -> BaseException:
        """Saves the state before the skipped steps; returns the error that names their songs."""
        config, state = self.run.config, before_skipped(state)
        step = int(state.step)
        # A run can resume only between calls.
        if step % config.steps_per_call == 0:
            self.save(state)
        error = NotFiniteError(
            f"loss or gradient not finite from step {step + 1} on, for more than "
            f"max_skipped_steps {config.max_skipped_steps}; songs of that step: "
            f"{', '.join(self.crops.song_ids(step))}"
        )
        # All processes have seen the same metrics.
        return processes.agreed(error)

    def feed(self, optimizer: optax.GradientTransformation) -> tuple[Callable, Iterator[Any]]:
        config = self.run.config
        step = functools.partial(
            steps.train_step,
            model=self.run.model,
            optimizer=optimizer,
            loss_weights=config.loss.to_dict(),
            augment=AugmentConfig(**config.augment),
            ema_decay=config.optim.ema_decay,
            seed=config.seed,
            max_skipped_steps=config.max_skipped_steps,
        )
        return feed(
            step,
            self.crops,
            self.data.batches,
            on_device=config.data.on_device,
            way=config.parallel,
        )


def feed(
    step: Callable,
    crops: Crops,
    batches: Callable[[Crops], Iterator[Any]],
    *,
    on_device: bool,
    way: str = "pmap",
) -> tuple[Callable, Iterator[Any]]:
    """The train step on all devices, and an iterator over its inputs."""
    if not on_device:
        train_step = parallel.map_train_step(
            functools.partial(steps.train_steps, step=step), way=way
        )
        return train_step, parallel.prefetch(batches(crops))
    songs = crops.songs
    assert isinstance(songs, Songs)  # With this setting they are read into memory.
    check_fits(songs, jax.local_devices()[0])
    train_on_crops = parallel.map_train_step_on_songs(
        step, songs.arrays(), crop_segments=crops.crop_segments, way=way
    )
    return train_on_crops, parallel.prefetch(crops.calls())


def calibrated(run: Run, state: TrainState, songs: LabelledSongs) -> TrainState:
    """The state after calibration: training songs' curves have the labels' mean and deviation."""
    apply = functools.partial(run.eval_step, state.eval_variables())
    share = Share.of(songs, jax.process_index(), jax.process_count())
    scale_V, shift_V = calibration.scale_and_shift(curves_of(run.config, apply, share).curves)
    scales = " and ".join(f"{scale:.3f}" for scale in scale_V)
    print(f"calibrated: valence and arousal scaled by {scales}")
    return calibration.rescale_head(state, scale_V, shift_V)


def before_skipped(state: TrainState) -> TrainState:
    """The state before the consecutive skipped steps, which changed only the counters."""
    n = state.skipped["in_a_row"]
    skipped = {"in_all": state.skipped["in_all"] - n, "in_a_row": jnp.zeros_like(n)}
    return state.replace(step=state.step - n, skipped=skipped)


def check_fits(songs: Songs, device: jax.Device) -> None:
    """Checks that the training split fits into a device's memory.

    Raises:
      ValueError: it takes more than half of the memory.
    """
    size = sum(array.nbytes for array in songs.arrays().values())
    limit = (device.memory_stats() or {}).get("bytes_limit", math.inf)
    if size > limit / 2:
        raise ValueError(
            f"data.on_device: the training songs take {size / 2**30:.1f} GiB, and the device has "
            f"{limit / 2**30:.1f} GiB"
        )
