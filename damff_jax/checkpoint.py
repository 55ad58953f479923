"""Checkpoints by Orbax: the latest state to go on from, and the best one to predict with.

    <workdir>/checkpoints/latest/<step>/     the last one saved
    <workdir>/checkpoints/best/<step>/       the one with the highest validation score

Each holds the state and, as JSON, what is needed to use it without the program that wrote it:
the configuration, the features and the score.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from damff_jax.features import FeatureConfig, check_same
from damff_jax.train_state import TrainState, eval_variables


class CheckpointError(ValueError):
    """A checkpoint that is missing or does not fit; the message is one line."""


class Checkpoints:
    """Saves and restores a run's states; a context manager, which waits for pending saves."""

    def __init__(self, workdir: str | os.PathLike):
        self._latest = _manager(workdir, "latest")
        self._best = _manager(workdir, "best")
        self._best_score = None
        if (step := self._best.latest_step()) is not None:
            self._best_score = _read_meta(self._best, step)["score"]

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        for manager in (self._latest, self._best):
            manager.wait_until_finished()
            manager.close()

    def save(self, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Saves the state as the latest, in the background."""
        self._save(self._latest, state, {**meta, "score": None})

    def save_if_best(self, state: TrainState, meta: Mapping[str, Any], score: float) -> bool:
        """Saves the state if no earlier one scored as high; says whether it did."""
        beaten = self._best_score is not None and score <= self._best_score
        if beaten or not np.isfinite(score):
            return False
        self._best_score = score
        self._save(self._best, state, {**meta, "score": score})
        return True

    def restore_latest(self, state: TrainState, meta: Mapping[str, Any]) -> TrainState | None:
        """The latest state, placed as `state` is; None if nothing has been saved yet.

        Raises:
          CheckpointError, FeatureMismatchError: it is of another run, see `check_same_run`.
        """
        step = self._latest.latest_step()
        if step is None:
            return None
        check_same_run(_read_meta(self._latest, step), meta)
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        return self._latest.restore(step, args=args)["state"]

    def _save(self, manager: ocp.CheckpointManager, state: TrainState, meta: Mapping[str, Any]):
        step = int(state.step)
        if step in manager.all_steps():
            return
        manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                meta=ocp.args.JsonSave({**meta, "step": step}),
            ),
        )


def load_meta(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The meta data of a run's latest checkpoint; None before the first."""
    if not _folder(workdir, "latest").is_dir():
        return None
    with _manager(workdir, "latest", create=False) as manager:
        step = manager.latest_step()
        return None if step is None else _read_meta(manager, step)


def load_variables(workdir: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's variables of a run's best checkpoint, or of its latest without a best one.

    Returns:
      The variables for evaluation, and the checkpoint's meta data: `config`, `features`,
      `identity` (what makes the run what it is), `ancestors`, `step`, `score`; see `run_config`.

    Raises:
      CheckpointError: there is no checkpoint, or one of an earlier version.
    """
    for name in ("best", "latest"):
        folder = _folder(workdir, name)
        if not folder.is_dir():
            continue
        with _manager(workdir, name, create=False) as manager:
            step = manager.latest_step()
            if step is None:
                continue
            restored = manager.restore(
                step, args=ocp.args.Composite(state=_on_this_device(manager, step))
            )
            if "averages" not in restored["state"]:
                raise CheckpointError(f"{workdir}: a checkpoint of an earlier version; train again")
            return eval_variables(restored["state"]), _read_meta(manager, step)
    raise CheckpointError(f"{workdir}: no checkpoint of a training run in it")


def check_compatible(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], *, option: str = "--workdir"
) -> None:
    """Compares the meta data of a checkpoint with that of the present run.

    Args:
      option: what named the checkpoint, for messages.

    Raises:
      CheckpointError: the models differ, or it was trained on another version of the present data
        set, in which training songs may be test songs here; it shows in what.
      FeatureMismatchError: the features differ; it shows both.
    """
    # How curves are smoothed afterwards is free.
    models = ({**m["config"]["model"], "smoothing": None} for m in (stored, wanted))
    _refuse_differences("model", *models, option)
    features = (FeatureConfig.from_json(meta["features"]) for meta in (stored, wanted))
    check_same(*features, "the checkpoint")
    present = wanted["identity"]["dataset"]
    for seen in (stored["identity"]["dataset"], *stored.get("ancestors", ())):
        if seen.split("/")[0] == present.split("/")[0]:
            data = ({"dataset": seen}, {"dataset": present})
            _refuse_differences("version of the data set", *data, option)


def check_same_run(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Like `check_compatible`, and compares all that makes a training run what it is.

    Raises:
      CheckpointError, FeatureMismatchError: going on would make a run that no config describes.
    """
    check_compatible(stored, wanted)
    # A validation score chooses among the smoothed curves of one run.
    _refuse_differences("model", *(m["config"]["model"] for m in (stored, wanted)))
    _refuse_differences("run", stored["identity"], wanted["identity"])


def _refuse_differences(
    what: str, old: Mapping[str, Any], new: Mapping[str, Any], option: str = "--workdir"
) -> None:
    old, new = (json.loads(json.dumps(values)) for values in (old, new))
    different = [
        f"{key}: {old.get(key)} there, {new.get(key)} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if different:
        raise CheckpointError(
            f"the checkpoint is of another {what} ({'; '.join(different)}); take another {option}"
        )


def _folder(workdir: str | os.PathLike, name: str) -> Path:
    return Path(workdir).absolute() / "checkpoints" / name


def _manager(
    workdir: str | os.PathLike, name: str, *, create: bool = True
) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=1, create=create)
    # Handlers are named, because a manager that has not saved yet could not read otherwise.
    handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(_folder(workdir, name), options=options, item_handlers=handlers)


def _read_meta(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    return manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]


def _on_this_device(manager: ocp.CheckpointManager, step: int) -> ocp.args.StandardRestore:
    """Restores on whatever device there is, not on those that saved."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    tree = manager.item_metadata(step)["state"].tree
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree)
    return ocp.args.StandardRestore(target)
