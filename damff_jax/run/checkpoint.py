"""Checkpoints: the latest states to resume from, and the best one to predict with.

Where they are and what they hold: `checkpoint_files`.
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

    One writer per workdir: see `workdir_lock`. Damaged steps are set aside, with a warning.

    Raises:
      CheckpointError: there are steps to go on from, and all are damaged.
    """

    def __init__(self, workdir: str | os.PathLike):
        self._workdir = Path(workdir)
        self._saver = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: list[concurrent.futures.Future] = []
        self._failed = False
        # The latest first: if there is none to go on with, nothing is touched.
        self._latest_step = files.newest_step(workdir, "latest")
        best_step = files.newest_step(workdir, "best")
        for name, newest in (("latest", self._latest_step), ("best", best_step)):
            for step in files.steps(workdir, name):
                if newest is None or step > newest:
                    files.set_aside(files.step_path(workdir, name, step))
        self._best_score = None
        # The step that was chosen, which stays known when its checkpoint is lost.
        self._best_step = None
        if self._latest_step is not None:
            latest = files.read_meta(files.step_path(workdir, "latest", self._latest_step))
            self._best_step = latest.get("best_step")
        if best_step is not None and best_step >= (self._best_step or 0):
            self._best_score = files.read_meta(files.step_path(workdir, "best", best_step))["score"]
            self._best_step = best_step
        elif self._best_step is not None:
            files.warn(
                f"{workdir}: its best checkpoint, of step {self._best_step}, is damaged or gone; "
                f"from step {self._latest_step} on, the best of the steps to come is chosen"
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.wait()
        finally:
            self._saver.shutdown()

    def wait(self) -> None:
        """Waits until all that was saved is on the disk.

        Raises:
          CheckpointError: it could not be written; what was saved before is whole.
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
            # After the best, which could not be found again once its step is behind.
            self._save("latest", state, {**meta, "score": None, "best_step": self._best_step})
            self._latest_step = step

    def save_if_best(self, state: TrainState, meta: Mapping[str, Any], score: float) -> bool:
        """Saves the state if no earlier one scored as high; says whether it did.

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
        """The latest state, placed as `state` is; None if nothing has been saved yet.

        Raises:
          CheckpointError, FeatureMismatchError: it is of another run; see `identity`.
        """
        if self._latest_step is None:
            # A run that was broken off between its first best state and its first latest one.
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
        # A best state and the latest one may wait for the disk; more would pile up in memory. What
        # could not be written is known with the next save.
        while self._pending and (len(self._pending) > 1 or self._pending[0].done()):
            self._pending.pop(0).result()
        # A copy, because the next step takes the state's buffers.
        state = jax.tree.map(lambda x: np.array(x), state)
        meta = {**meta, "step": int(state.step)}
        self._pending.append(self._saver.submit(self._write, name, state, meta))

    def _write(self, name: str, state: TrainState, meta: Mapping[str, Any]) -> None:
        # What is saved after the first failure could count on what was not written.
        if self._failed:
            return
        try:
            files.write_step(self._workdir, name, state, meta)
        except BaseException:
            self._failed = True
            raise


def load_meta(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The meta data of a run's latest checkpoint; None before the first.

    Raises:
      CheckpointError: there are checkpoints, and all are damaged.
    """
    step = files.newest_step(workdir, "latest")
    return None if step is None else files.read_meta(files.step_path(workdir, "latest", step))


def load_variables(workdir: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's variables of a run's best checkpoint, or of its latest if none was chosen.

    The latest never stands in for a best one that is lost.

    Returns:
      The variables for evaluation, numpy arrays, and the checkpoint's meta data: `config`,
      `features`, `identity` (what makes the run what it is), `ancestors`, `step`, `score`; see
      `run_config`.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, or one of an earlier version.
    """
    listed = files.all_steps(workdir)
    try:
        return _load_variables(workdir)
    except CheckpointError:
        if files.all_steps(workdir) == listed:
            raise
        # A training that goes on has replaced what was being read.
        return load_variables(workdir)


def _load_variables(workdir: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    best_step = files.newest_step(workdir, "best")
    try:
        latest = load_meta(workdir) or {}
    except CheckpointError as error:
        if best_step is None:
            raise
        files.warn(f"{error}; the best one is whole")
        latest = {}
    # The latest knows which was chosen; what is there without it, was chosen later.
    chosen = latest.get("best_step") or max(files.steps(workdir, "best"), default=None)
    if chosen is not None and (best_step is None or best_step < chosen):
        raise CheckpointError(
            f"{workdir}: its best checkpoint, of step {chosen}, is damaged or gone, and no other "
            "stands in for it"
        )
    if best_step is not None:
        path = files.step_path(workdir, "best", best_step)
    elif latest:
        path = files.step_path(workdir, "latest", latest["step"])
    else:
        raise CheckpointError(f"{workdir}: no checkpoint of a training run in it")
    state = files.restore_state(path)
    if "averages" not in state:
        raise CheckpointError(f"{path}: holds {sorted(state)} in the place of a state")
    return eval_variables(state), files.read_meta(path)
