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

from damff_jax.evaluation import metrics, shares
from damff_jax.evaluation.inference import Apply, Windowing
from damff_jax.evaluation.labelled import labelled_curves
from damff_jax.evaluation.shares import Share, SplitCurves
from damff_jax.run import checkpoint_files, history, identity, processes
from damff_jax.run.checkpoint import Checkpoints, load_variables
from damff_jax.run.metric_writer import MetricWriter
from damff_jax.run.processes import Silent
from damff_jax.run.train_log import banner
from damff_jax.songs import LabelledSongs, Song
from damff_jax.system.files import atomic_write
from damff_jax.training import parallel, train_state
from damff_jax.training.crops import Crops
from damff_jax.training.train_state import TrainState


@dataclasses.dataclass(frozen=True)
class Data:
    """The data that a model is trained on.

    Attributes:
      train: all training songs.
      validation: this process's share; None if there are no validation songs.
      batches: cuts crops from the training songs: endless batches, see `steps.train_steps`, with
        the device axis first.
    """

    train: LabelledSongs
    validation: Share | None
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


def load_evaluated(run: Run) -> tuple[dict[str, Any], int]:
    """The variables to evaluate, NumPy arrays, and their step: the first process's, in all of them.

    Raises:
      CheckpointError, FeatureMismatchError: there are none, or they belong to another model or data
        set; in other processes than the first, ProcessesError.
    """
    loaded: dict[str, Any] = {}

    def load() -> int:
        variables, stored = load_variables(run.workdir)
        identity.check_compatible(stored, run.meta)
        loaded.update(variables)
        return int(stored["step"])

    step = processes.from_first(load)
    print(f"checkpoint of step {step} from {run.workdir}")
    return processes.tree_from_first(loaded), step


def validate(run: Run, state: TrainState, share: Share) -> tuple[dict[str, Any], float]:
    """A state's validation scores, and the one that decides which is best: the mean pooled CCC.

    The same in all processes.
    """
    apply = functools.partial(run.eval_step, state.eval_variables())
    summary = metrics.summarize(curves_of(run.config, apply, share).curves)
    ccc_V = [summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS]
    return summary, float(np.mean(ccc_V))


def curves_of(config: ConfigDict, apply: Apply, share: Share) -> SplitCurves:
    """Curves of all songs of a split, computed by all processes, each its share; in all of them.

    A device always gets as many windows at a time, so the result has the same bits whatever the
    number of devices and processes.
    """
    times: dict[str, np.ndarray] = {}

    def own() -> Iterator[Song]:
        for song in share.songs:
            times[song.song_id] = song.times_T
            yield song

    curves = labelled_curves(
        apply,
        own(),
        # Longer windows would be padding.
        windowing=Windowing.of(config).within(share.longest),
        batch_size=config.data.eval_batch_size * jax.local_device_count(),
    )
    parts = processes.gathered(shares.pack(SplitCurves(curves, times)))
    return shares.unpack(share.song_ids, parts)
