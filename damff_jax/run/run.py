"""A run: what it works on, its workdir, its first state, and its scores."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from damff_jax.evaluation import metrics
from damff_jax.evaluation.inference import Apply, Windowing
from damff_jax.evaluation.labelled import labelled_curves
from damff_jax.evaluation.metrics import Curve
from damff_jax.run import checkpoint_files, history, processes
from damff_jax.run.checkpoint import Checkpoints
from damff_jax.run.metric_writer import MetricWriter
from damff_jax.run.processes import Silent
from damff_jax.run.train_log import banner
from damff_jax.songs import LabelledSongs
from damff_jax.system.files import atomic_write
from damff_jax.training import parallel, train_state
from damff_jax.training.crops import Crops
from damff_jax.training.train_state import TrainState


@dataclasses.dataclass(frozen=True)
class Data:
    """The data that a model is trained on.

    Attributes:
      train, validation: songs; validation is None if there are no validation songs.
      batches: cuts crops from the training songs: endless batches, see `steps.train_steps`, with
        the device axis first.
    """

    train: LabelledSongs
    validation: LabelledSongs | None
    batches: Callable[[Crops], Iterator[dict[str, np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run in its workdir.

    Attributes:
      eval_step: `steps.eval_step` of the model on all devices.
      meta: see `identity.checkpoint_meta`.
      start: variables to start from, see `weights.load`; None for a random initialisation.
      command: that of the program, for the workdir's history; empty if there is none.
    """

    config: ConfigDict
    model: nn.Module
    eval_step: Callable
    workdir: Path
    meta: Mapping[str, Any]
    start: Mapping[str, Any] | None = None
    command: Sequence[str] = ()


@contextlib.contextmanager
def open_workdir(
    run: Run, state: TrainState
) -> Iterator[tuple[Checkpoints | Silent, TrainState | None]]:
    """The workdir's checkpoints, and their latest state, placed on the same devices as `state`.

    Raises:
      CheckpointError, FeatureMismatchError: the checkpoint belongs to another run, or no checkpoint
        can be written.
    """
    with contextlib.ExitStack() as stack:
        checkpoints: Checkpoints | Silent = Silent()
        restored: TrainState | None = None

        def restore() -> bool:
            nonlocal checkpoints, restored
            checkpoints = stack.enter_context(Checkpoints(run.workdir))
            restored = checkpoints.restore_latest(state, run.meta)
            if restored is None:
                # Otherwise the first save would be the first to notice.
                checkpoint_files.check_writable(run.workdir)
            with atomic_write(run.workdir / "config.json") as file:
                json.dump(run.meta["config"], file, indent=2)
            history.begin(run.workdir, "train", run.command)
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
    run: Run, songs: LabelledSongs, optimizer: optax.GradientTransformation, *, with_ema: bool
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
        segment_shape=songs.segment_shape,
        input_stats=songs.mel_statistics(),
        with_ema=with_ema,
    )
    n_params = sum(x.size for x in jax.tree.leaves(state.params))
    device = jax.local_devices()[0].device_kind
    print(f"{run.config.model.name}: {n_params:,} parameters, {run.config.dtype}")
    of_processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    print(f"on {jax.device_count()} × {device}{of_processes}, JAX {jax.__version__}")
    return parallel.replicate(state)


def validate(run: Run, state: TrainState, songs: LabelledSongs) -> tuple[dict[str, Any], float]:
    """A state's validation scores, and the one that decides which is best: the mean pooled CCC."""
    apply = functools.partial(run.eval_step, state.eval_variables())
    summary = metrics.summarize(curves_of(run.config, apply, songs))
    ccc_V = [summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS]
    return summary, float(np.mean(ccc_V))


def curves_of(config: ConfigDict, apply: Apply, songs: LabelledSongs) -> dict[str, Curve]:
    """Curves of a split's songs, by song id."""
    return labelled_curves(
        apply,
        songs,
        # Longer windows would be padding.
        windowing=Windowing.of(config).within(int(songs.length.max())),
        batch_size=config.data.eval_batch_size,
    )
