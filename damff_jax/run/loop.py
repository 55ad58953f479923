"""Training a model on songs, step by step or in closed form, into a workdir."""

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

from damff_jax.evaluation import metrics
from damff_jax.evaluation.inference import Apply, Windowing
from damff_jax.evaluation.labelled import labelled_curves
from damff_jax.evaluation.metrics import Curve
from damff_jax.run import processes
from damff_jax.run.checkpoint import Checkpoints
from damff_jax.run.metric_writer import MetricWriter
from damff_jax.run.processes import Silent
from damff_jax.run.train_log import NotFiniteError, TrainLog, banner
from damff_jax.songs import Songs
from damff_jax.system import preemption
from damff_jax.system.files import atomic_write
from damff_jax.system.preemption import Preempted
from damff_jax.training import calibration, closed_form, parallel, steps, train_state
from damff_jax.training.augmentation import AugmentConfig
from damff_jax.training.crops import Crops
from damff_jax.training.optim import OptimConfig, learning_rate_schedule, make_optimizer
from damff_jax.training.train_state import TrainState


@dataclasses.dataclass(frozen=True)
class Data:
    """The data that a model is trained on.

    Attributes:
      train, validation: songs; validation is None if there are no validation songs.
      batches: cuts crops from the training songs: endless batches, see `steps.train_steps`, with
        the device axis first.
    """

    train: Songs
    validation: Songs | None
    batches: Callable[[Crops], Iterator[dict[str, np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run in its workdir.

    Attributes:
      eval_step: `steps.eval_step` of the model on all devices.
      meta: see `run_config.checkpoint_meta`.
      start: variables to start from, see `weights.load`; None for a random initialisation.
    """

    config: ConfigDict
    model: nn.Module
    eval_step: Callable
    workdir: Path
    meta: Mapping[str, Any]
    start: Mapping[str, Any] | None = None


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
    optim = OptimConfig(**config.optim)
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
            _Loop(run, data, crops, checkpoints, writer, log, preempted).run(state, optimizer)


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


def crops_of(run: Run, songs: Songs, *, first_step: int) -> Crops:
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
    """The training loop: steps, and logging, validating and saving between them."""

    of: Run
    data: Data
    crops: Crops
    checkpoints: Checkpoints | Silent
    writer: MetricWriter | Silent
    log: TrainLog
    preempted: Callable[[], int]

    def run(self, state: TrainState, optimizer: optax.GradientTransformation) -> None:
        config, n = self.of.config, self.of.config.steps_per_call
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
        return step % every == 0 or step == self.of.config.num_train_steps

    def after(self, step: int, state: TrainState, step_metrics: Mapping[str, Any]) -> TrainState:
        """Logs and validates a step; at the end, calibrates the state."""
        config = self.of.config
        if self.is_due(step, config.log_every_steps):
            self.log.add(step, step_metrics)
        if step == config.num_train_steps and config.calibrate:
            self.log.check(step, step_metrics)
            state = calibrated(self.of, state, self.data.train)
        if self.data.validation and self.is_due(step, config.eval_every_steps):
            self.log.check(step, step_metrics)
            with self.log.pause():
                summary, score = validate(self.of, state, self.data.validation)
                self.log.validation(step, summary)
                if config.select == "best":
                    self.checkpoints.save_if_best(state, self.of.meta, score)
        return state

    def save(self, state: TrainState) -> None:
        # The log first: a run that resumes from this state will not write it again.
        self.writer.sync()
        self.checkpoints.save(state, self.of.meta)

    def not_finite(self, state: TrainState) -> BaseException:
        """Saves the state before the skipped steps; returns the error that names their songs."""
        config, state = self.of.config, before_skipped(state)
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
        config = self.of.config
        step = functools.partial(
            steps.train_step,
            model=self.of.model,
            optimizer=optimizer,
            loss_weights=config.loss.to_dict(),
            augment=AugmentConfig(**config.augment),
            ema_decay=config.optim.ema_decay,
            seed=config.seed,
            max_skipped_steps=config.max_skipped_steps,
        )
        return feed(step, self.crops, self.data.batches, on_device=config.data.on_device)


def feed(
    step: Callable, crops: Crops, batches: Callable[[Crops], Iterator[Any]], *, on_device: bool
) -> tuple[Callable, Iterator[Any]]:
    """The train step on all devices, and an iterator over its inputs."""
    if not on_device:
        train_step = parallel.map_train_step(functools.partial(steps.train_steps, step=step))
        return train_step, parallel.prefetch(batches(crops))
    check_fits(crops.songs, jax.local_devices()[0])
    train_on_crops = parallel.map_train_step_on_songs(
        step, crops.songs.arrays(), crop_segments=crops.crop_segments
    )
    return train_on_crops, parallel.prefetch(crops.calls())


def calibrated(run: Run, state: TrainState, songs: Songs) -> TrainState:
    """The state after calibration: training songs' curves have the labels' mean and deviation."""
    apply = functools.partial(run.eval_step, state.eval_variables())
    scale_V, shift_V = calibration.scale_and_shift(curves_of(run.config, apply, songs))
    scales = " and ".join(f"{scale:.3f}" for scale in scale_V)
    print(f"calibrated: valence and arousal scaled by {scales}")
    return calibration.rescale_head(state, scale_V, shift_V)


def before_skipped(state: TrainState) -> TrainState:
    """The state before the consecutive skipped steps, which changed only the counters."""
    n = state.skipped["in_a_row"]
    skipped = {"in_all": state.skipped["in_all"] - n, "in_a_row": jnp.zeros_like(n)}
    return state.replace(step=state.step - n, skipped=skipped)


def solve(run: Run, data: Data) -> None:
    """Trains a model that has a closed-form solution; each candidate solution counts as a step.

    Validation chooses among the solutions as among the steps of a training.

    Raises:
      CheckpointError, FeatureMismatchError: the workdir holds another run.
    """
    state = first_state(run, data.train, optax.identity(), with_ema=False)
    with open_workdir(run, state) as (checkpoints, restored):
        if restored is not None:
            print(f"{run.workdir} already holds the solution")
            return
        banner("solving")
        best, chosen = -math.inf, state
        with MetricWriter(run.workdir, first_step=0) as writer:
            for step, solution in enumerate(solutions_of(run, data, state), start=1):
                values = {"params": solution.params, "batch_stats": solution.batch_stats}
                values = jax.tree.map(jnp.asarray, values)
                state = parallel.replicate(state.replace(step=jnp.int32(step), **values))
                if data.validation is None:
                    print(f"{solution.description}, not validated: there are no validation songs")
                    chosen = state
                    continue
                summary, score = validate(run, state, data.validation)
                writer.write(step, metrics.flatten(summary, "validation/"))
                v, a = (summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS)
                print(f"{solution.description}: validation CCC valence {v:.3f} arousal {a:.3f}")
                if score > best:
                    best, chosen = score, state
        if data.validation is not None:
            checkpoints.save_if_best(chosen, run.meta, best)
        checkpoints.save(chosen, run.meta)


def solutions_of(run: Run, data: Data, state: TrainState) -> list[closed_form.Solution]:
    """See `closed_form.solutions`."""
    feature_step = functools.partial(closed_form.feature_step, model=run.model)
    return closed_form.solutions(
        run.model,
        functools.partial(parallel.map_eval_step(feature_step), state.eval_variables()),
        data.train,
        windowing=Windowing.of(run.config),
        batch_size=run.config.data.eval_batch_size,
        validated=data.validation is not None,
    )


@contextlib.contextmanager
def open_workdir(
    run: Run, state: TrainState
) -> Iterator[tuple[Checkpoints | Silent, TrainState | None]]:
    """The workdir's checkpoints, and their latest state, placed on the same devices as `state`.

    Raises:
      CheckpointError, FeatureMismatchError: the checkpoint belongs to another run.
    """
    with contextlib.ExitStack() as stack:
        checkpoints: Checkpoints | Silent = Silent()
        restored: TrainState | None = None

        def restore() -> bool:
            nonlocal checkpoints, restored
            checkpoints = stack.enter_context(Checkpoints(run.workdir))
            restored = checkpoints.restore_latest(state, run.meta)
            with atomic_write(run.workdir / "config.json") as file:
                json.dump(run.meta["config"], file, indent=2)
            return restored is not None

        if processes.from_first(restore):
            restored = processes.arrays_from_first(state if restored is None else restored)
        yield checkpoints, restored


def open_metrics(run: Run, first_step: int) -> MetricWriter | Silent:
    """The metric writer in the first process, and a silent one in others."""
    if not processes.is_first():
        return Silent()
    return MetricWriter(run.workdir, first_step=first_step)


def first_state(
    run: Run, songs: Songs, optimizer: optax.GradientTransformation, *, with_ema: bool
) -> TrainState:
    """The state before the first step, on all devices; prints a description of the model.

    Args:
      songs: the training split.
    """
    banner("model")
    state = train_state.create(
        run.model,
        optimizer,
        seed=run.config.seed,
        segment_shape=songs.log_mel_RxFxM.shape[1:],
        input_stats=songs.mel_statistics(),
        with_ema=with_ema,
    )
    n_params = sum(x.size for x in jax.tree.leaves(state.params))
    device = jax.local_devices()[0].device_kind
    print(f"{run.config.model.name}: {n_params:,} parameters, {run.config.dtype}")
    of_processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    print(f"on {jax.device_count()} × {device}{of_processes}, JAX {jax.__version__}")
    return parallel.replicate(state)


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


def validate(run: Run, state: TrainState, songs: Songs) -> tuple[dict[str, Any], float]:
    """A state's validation scores, and the one that decides which is best: the mean pooled CCC."""
    apply = functools.partial(run.eval_step, state.eval_variables())
    summary = metrics.summarize(curves_of(run.config, apply, songs))
    ccc_V = [summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS]
    return summary, float(np.mean(ccc_V))


def curves_of(config: ConfigDict, apply: Apply, songs: Songs) -> dict[str, Curve]:
    """Curves of a split's songs, by song id."""
    return labelled_curves(
        apply,
        songs,
        # Longer windows would be padding.
        windowing=Windowing.of(config).within(int(songs.length.max())),
        batch_size=config.data.eval_batch_size,
    )
