"""Checkpoints by Orbax: the latest states to go on from, and the best one to predict with.

    <workdir>/checkpoints/latest/<step>/     the last two saved
    <workdir>/checkpoints/best/<step>/       the one with the highest validation score
    <workdir>/checkpoints/damaged/           what was found damaged and is not used

Each holds the state and, as JSON, what is needed to use it without the program that wrote it:
the configuration, the features and the score; and the digests of its files. A step is written
beside its place, with its digests, and takes it by being renamed: what has a step's name was
whole. What no longer is as its digests say is not used.
"""

import concurrent.futures
import contextlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from damff_jax import digests
from damff_jax.features import FeatureConfig, check_same
from damff_jax.models import with_defaults
from damff_jax.train_state import TrainState, eval_variables

# How many steps are kept. The latest has one to fall back on; another best would not be the best.
_KEPT = {"latest": 2, "best": 1}

# What a stranger's checkpoint can make us allocate, by what it takes on the disk; moments of zeros
# are compressed, but parameters hardly.
_MAX_RATIO = 100

# Fields of the state that an earlier version had not, and that begin as in a new one.
_ADDED = {"skipped"}


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or does not fit; the message is one line."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged, and what is done without it; the message is one line."""


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
        self._latest_step = _newest_step(workdir, "latest")
        best_step = _newest_step(workdir, "best")
        for name, newest in (("latest", self._latest_step), ("best", best_step)):
            for step in _steps(workdir, name):
                if newest is None or step > newest:
                    _set_aside(_path(workdir, name, step))
        self._best_score = None
        # The step that was chosen, which stays known when its checkpoint is lost.
        self._best_step = None
        if self._latest_step is not None:
            latest = _read_meta(_path(workdir, "latest", self._latest_step))
            self._best_step = latest.get("best_step")
        if best_step is not None and best_step >= (self._best_step or 0):
            self._best_score = _read_meta(_path(workdir, "best", best_step))["score"]
            self._best_step = best_step
        elif self._best_step is not None:
            _warn(
                f"{workdir}: its best checkpoint, of step {self._best_step}, is damaged or gone; "
                f"from step {self._latest_step} on, the best of the steps to come is chosen"
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
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
          CheckpointError, FeatureMismatchError: it is of another run, see `check_same_run`.
        """
        if self._latest_step is None:
            # A run that was broken off between its first best state and its first latest one.
            if self._best_step is not None:
                check_same_run(_read_meta(_path(self._workdir, "best", self._best_step)), meta)
            return None
        self.wait()
        path = _path(self._workdir, "latest", self._latest_step)
        check_same_run(_read_meta(path), meta)
        restored = _restore_state(path, vars(state))
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
            _write_step(self._workdir, name, state, meta)
        except BaseException:
            self._failed = True
            raise


def load_meta(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The meta data of a run's latest checkpoint; None before the first.

    Raises:
      CheckpointError: there are checkpoints, and all are damaged.
    """
    step = _newest_step(workdir, "latest")
    return None if step is None else _read_meta(_path(workdir, "latest", step))


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
    listed = _all_steps(workdir)
    try:
        return _load_variables(workdir)
    except CheckpointError:
        if _all_steps(workdir) == listed:
            raise
        # A training that goes on has replaced what was being read.
        return load_variables(workdir)


def _load_variables(workdir: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    best_step = _newest_step(workdir, "best")
    try:
        latest = load_meta(workdir) or {}
    except CheckpointError as error:
        if best_step is None:
            raise
        _warn(f"{error}; the best one is whole")
        latest = {}
    # The latest knows which was chosen; what is there without it, was chosen later.
    chosen = latest.get("best_step") or max(_steps(workdir, "best"), default=None)
    if chosen is not None and (best_step is None or best_step < chosen):
        raise CheckpointError(
            f"{workdir}: its best checkpoint, of step {chosen}, is damaged or gone, and no other "
            "stands in for it"
        )
    if best_step is not None:
        path = _path(workdir, "best", best_step)
    elif latest:
        path = _path(workdir, "latest", latest["step"])
    else:
        raise CheckpointError(f"{workdir}: no checkpoint of a training run in it")
    state = _restore_state(path)
    if "averages" not in state:
        raise CheckpointError(f"{workdir}: a checkpoint of an earlier version; train again")
    return eval_variables(state), _read_meta(path)


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
    models = ({**with_defaults(m["config"]["model"]), "smoothing": None} for m in (stored, wanted))
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
    _refuse_differences("model", *(with_defaults(m["config"]["model"]) for m in (stored, wanted)))
    runs = (flax.traverse_util.flatten_dict(m["identity"], sep=".") for m in (stored, wanted))
    _refuse_differences("run", *runs)


def _refuse_differences(
    what: str, old: Mapping[str, Any], new: Mapping[str, Any], option: str = "--workdir"
) -> None:
    old, new = (json.loads(json.dumps(values)) for values in (old, new))
    different = [
        f"{key}: {old.get(key)} there, {new.get(key)} here"
        for key in sorted(old.keys() | new.keys())
        # A setting that came later is off in what was before it.
        if (old.get(key) or None) != (new.get(key) or None)
    ]
    if different:
        raise CheckpointError(
            f"the checkpoint is of another {what} ({'; '.join(different)}); take another {option}"
        )


def _warn(message: str) -> None:
    # From here, whoever calls: the same warning is shown once.
    warnings.warn(message, CheckpointWarning, stacklevel=1)


def _folder(workdir: str | os.PathLike, name: str) -> Path:
    return Path(workdir).absolute() / "checkpoints" / name


def _path(workdir: str | os.PathLike, name: str, step: int) -> Path:
    return _folder(workdir, name) / str(step)


def _steps(workdir: str | os.PathLike, name: str) -> list[int]:
    """The steps that there is a folder of, in rising order."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        paths = [path for path in _folder(workdir, name).iterdir() if path.name.isdecimal()]
        return sorted(
            int(path.name) for path in paths
            if path.name == str(int(path.name)) and path.is_dir()
        )  # fmt: skip
    return []


def _all_steps(workdir: str | os.PathLike) -> dict[str, list[int]]:
    return {name: _steps(workdir, name) for name in _KEPT}


def _newest_step(workdir: str | os.PathLike, name: str) -> int | None:
    """The newest step that is as it was written, None without any; warns of others.

    Raises:
      CheckpointError: there are steps of the latest state, and all are damaged.
    """
    faults = {}
    for step in reversed(_steps(workdir, name)):
        fault = _find_fault(_path(workdir, name, step))
        if fault is None:
            break
        faults[step] = fault
    else:
        # While a training goes on, what was listed may have been replaced.
        if any(step not in faults for step in _steps(workdir, name)):
            return _newest_step(workdir, name)
        step = None
    if faults and step is None and name == "latest":
        listed = "; ".join(f"step {step}: {fault}" for step, fault in faults.items())
        raise CheckpointError(f"{workdir}: all its latest checkpoints are damaged ({listed})")
    for damaged, fault in faults.items():
        instead = "there is no other" if step is None else f"taking step {step}"
        _warn(f"{workdir}: the {name} checkpoint of step {damaged} is damaged ({fault}); {instead}")
    return step


def _find_fault(path: Path) -> str | None:
    """What is wrong with a step's files; None: they are as written."""
    if not (path / digests.NAME).exists():
        # Those of an earlier version have no digests, and say so by what their meta data lacks.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            meta = json.loads((path / "meta" / "metadata").read_text(encoding="utf-8"))
            if "best_step" not in meta and meta["step"] == int(path.name):
                _warn(f"{path}: a checkpoint of an earlier version, which cannot be verified")
                return None
    return digests.find_fault(path)


def _write_step(workdir: Path, name: str, state: TrainState, meta: Mapping[str, Any]) -> None:
    """Writes a step, and removes those that are not kept once it is on the disk."""
    folder, path = _folder(workdir, name), _path(workdir, name, meta["step"])
    aside = folder / ".saving"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(aside)
        args = {"state": ocp.args.StandardSave(state), "meta": ocp.args.JsonSave(meta)}
        with _checkpointer() as checkpointer:
            checkpointer.save(aside, args=ocp.args.Composite(**args))
        digests.write(aside)
        if path.exists():
            _set_aside(path)
        aside.rename(path)
        digests.sync_folder(folder)
        # Another best state than this one may be of a later step, by a run that was broken off.
        others = [step for step in _steps(workdir, name) if step != meta["step"]]
        for step in others[: len(others) + 1 - _KEPT[name]]:
            # Away at once: a reader finds a step whole or not at all.
            _path(workdir, name, step).rename(aside)
            _remove(aside)
    except Exception as error:  # Orbax and the file systems have many.
        with contextlib.suppress(OSError):
            _remove(aside)
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: cannot be saved ({reason})") from error


def _size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _set_aside(path: Path) -> None:
    """Puts what is damaged where it is in nobody's way: only people can tell what it is worth."""
    damaged = path.parents[1] / "damaged" / f"{path.parent.name}-{path.name}"
    damaged.parent.mkdir(exist_ok=True)
    _remove(damaged)
    path.rename(damaged)


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    """Reads and writes a step by this process alone, whatever others there are."""
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=process, active_processes={process})
    how = {"multiprocessing_options": alone}
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(**how),
        state=ocp.StandardCheckpointHandler(**how),
        meta=ocp.JsonCheckpointHandler("metadata", **how),
    )
    with ocp.Checkpointer(handler, **how) as checkpointer:
        yield checkpointer


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[ocp.Checkpointer]:
    try:
        with _checkpointer() as checkpointer:
            yield checkpointer
    except CheckpointError:
        raise
    except Exception as error:  # Of steps without digests, Orbax finds out by itself.
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: cannot be read ({reason})") from error


def _read_meta(path: Path) -> dict[str, Any]:
    args = ocp.args.Composite(meta=ocp.args.JsonRestore())
    with _reading(path) as checkpointer:
        return checkpointer.restore(path, args=args)["meta"]


def _restore_state(path: Path, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A state's fields as numpy arrays.

    Args:
      like: fields to restore, for the containers that they are made of, as far as they were saved;
        None: all, as dictionaries.

    Raises:
      CheckpointError: other fields were saved.
    """
    with _reading(path) as checkpointer:
        stored = checkpointer.metadata(path).item_metadata["state"].tree
        target = dict(stored)
        if like is not None:
            target = {name: value for name, value in like.items() if name in stored}
            if stored.keys() != target.keys() or like.keys() - target.keys() - _ADDED:
                raise CheckpointError(f"{path}: a checkpoint of an earlier version; train again")
        size = sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(target))
        if size > _MAX_RATIO * _size_of(path):
            raise CheckpointError(f"{path}: says that it holds {size} bytes, far more than it has")
        target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), target)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        return checkpointer.restore(path, args=args)["state"]
