"""Checkpoints: the latest states, to resume from, and the best one, to predict with.

See `checkpoint_files` for their files.
"""

import concurrent.futures
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from damff_jax.run import checkpoint_files as files
from damff_jax.run import identity
from damff_jax.run.checkpoint_errors import CheckpointError, CheckpointWarning
from damff_jax.training.train_state import TrainState, eval_variables

__all__ = ["CheckpointError", "CheckpointWarning", "Checkpoints", "load_meta", "load_variables"]


class Checkpoints:
    """Saves and restores a run's states; a context manager, which waits for pending saves.

    One writer per workdir: see `workdir_lock`. Damaged steps are moved away, with a warning.

    Raises:
      CheckpointError: there are steps to resume from, but all are damaged.
    """

    def __init__(self, workdir: str | os.PathLike):
        self._workdir = Path(workdir)
        self._saver = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: list[concurrent.futures.Future] = []
        self._failed = False
        # The latest first: if all of them are damaged, nothing is touched.
        self._latest_step = files.newest_step(workdir, "latest")
        best_step = files.newest_step(workdir, "best")
        files.remove_unfinished(workdir)
        for name, newest in (("latest", self._latest_step), ("best", best_step)):
            for step in files.steps(workdir, name):
                if newest is None or step > newest:
                    files.set_aside(files.step_path(workdir, name, step))
        self._best_score = None
        # The step that was chosen as best, known even if its checkpoint is lost.
        self._best_step = None
        if self._latest_step is not None:
            latest = files.read_meta(files.step_path(workdir, "latest", self._latest_step))
            self._best_step = latest.get("best_step")
        if best_step is not None and best_step >= (self._best_step or 0):
            self._best_score = files.read_meta(files.step_path(workdir, "best", best_step))["score"]
            self._best_step = best_step
        elif self._best_step is not None:
            files.warn(
                f"{workdir}: its best checkpoint, of step {self._best_step}, is damaged or missing;"
                f" the best is chosen anew from the steps after step {self._latest_step}"
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.wait()
        finally:
            self._saver.shutdown()

    def wait(self) -> None:
        """Waits until all saved states are on the disk.

        Raises:
          CheckpointError: one could not be written; those saved before it are complete.
        """
        while self._pending:
            self._pending.pop(0).result()

    def save(self, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Saves the state as the latest, in the background.

        Raises:
          CheckpointError: an earlier state could not be written.
        """
        step = int(state.step)
        if self._latest_step is None or step > self._latest_step:
            # Saved after the best, which could not be recovered by resuming from a later step.
            self._save("latest", state, {**meta, "score": None, "best_step": self._best_step})
            self._latest_step = step

    def save_if_best(self, state: TrainState, meta: Mapping[str, Any], score: float) -> bool:
        """Saves the state if no earlier one scored as high; returns whether it did.

        Raises:
          CheckpointError: an earlier state could not be written.
        """
        beaten = self._best_score is not None and score <= self._best_score
        if beaten or not np.isfinite(score):
            return False
        self._best_score, self._best_step = score, int(state.step)
        self._save("best", state, {**meta, "score": score, "best_step": self._best_step})
        return True

    def restore_latest(self, state: TrainState, meta: Mapping[str, Any]) -> TrainState | None:
        """The latest state, on the same devices as `state`; None if nothing has been saved yet.

        Raises:
          CheckpointError, FeatureMismatchError: it belongs to another run; see `identity`.
        """
        if self._latest_step is None:
            # A run that was interrupted between saving its first best and its first latest state.
            if self._best_step is not None:
                identity.check_same_run(
                    files.read_meta(files.step_path(self._workdir, "best", self._best_step)), meta
                )
            return None
        self.wait()
        path = files.step_path(self._workdir, "latest", self._latest_step)
        identity.check_same_run(files.read_meta(path), meta)
        restored = files.restore_state(path, vars(state))
        like = {name: getattr(state, name) for name in restored}
        placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), restored, like)
        return state.replace(**placed)

    def _save(self, name: str, state: TrainState, meta: Mapping[str, Any]) -> None:
        # One best and one latest state may wait for the disk; more would pile up in memory. A
        # failed write is reported by the next save.
        while self._pending and (len(self._pending) > 1 or self._pending[0].done()):
            self._pending.pop(0).result()
        # A copy, because the next step reuses the state's buffers.
        state = jax.tree.map(lambda x: np.array(x), state)
        meta = {**meta, "step": int(state.step)}
        self._pending.append(self._saver.submit(self._write, name, state, meta))

    def _write(self, name: str, state: TrainState, meta: Mapping[str, Any]) -> None:
        # Later states may rely on earlier ones, so nothing is written after the first failure.
        if self._failed:
            return
        try:
            files.write_step(self._workdir, name, state, meta)
        except BaseException:
            self._failed = True
            raise


def check_exists(workdir: str | os.PathLike) -> None:
    """Checks that there is a folder that may hold checkpoints.

    Raises:
      CheckpointError: there is none.
    """
    if not Path(workdir).is_dir():
        raise CheckpointError(f"{workdir}: no such directory, so there is no checkpoint")


def load_meta(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The metadata of a run's latest checkpoint; None if there is none.

    Raises:
      CheckpointError: there are checkpoints, but all are damaged.
    """
    step = files.newest_step(workdir, "latest")
    return None if step is None else files.read_meta(files.step_path(workdir, "latest", step))


def load_variables(workdir: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's variables from a run's best checkpoint, or from its latest if none was chosen.

    A lost best checkpoint is never replaced by the latest one.

    Returns:
      The variables for evaluation, numpy arrays, and the checkpoint's metadata: `config`,
      `features`, `identity` (the settings and data that make two runs the same run), `ancestors`,
      `step`, `score`; see `identity`.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, or it does not hold a state.
    """
    listed = files.all_steps(workdir)
    try:
        return _load_variables(workdir)
    except CheckpointError:
        if files.all_steps(workdir) == listed:
            raise
        # A running training has replaced what was being read.
        return load_variables(workdir)


def n_parameters(variables: Mapping[str, Any]) -> int:
    """The number of trained values in the variables of `load_variables`."""
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def _load_variables(workdir: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    best_step = files.newest_step(workdir, "best")
    try:
        latest = load_meta(workdir) or {}
    except CheckpointError as error:
        if best_step is None:
            raise
        files.warn(f"{error}; the best one is not damaged")
        latest = {}
    # The latest records which one was chosen; without it, the newest best one was.
    chosen = latest.get("best_step") or max(files.steps(workdir, "best"), default=None)
    if chosen is not None and (best_step is None or best_step < chosen):
        raise CheckpointError(
            f"{workdir}: its best checkpoint, of step {chosen}, is damaged or missing, and is "
            "never replaced by another"
        )
    if best_step is not None:
        path = files.step_path(workdir, "best", best_step)
    elif latest:
        path = files.step_path(workdir, "latest", latest["step"])
    else:
        raise CheckpointError(f"{workdir}: contains no checkpoint of a training run")
    state = files.restore_state(path)
    if "averages" not in state:
        raise CheckpointError(f"{path}: holds {sorted(state)} instead of a state")
    return eval_variables(state), files.read_meta(path)
