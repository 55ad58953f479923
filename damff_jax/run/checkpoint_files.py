"""The files of a run's checkpoints, by Orbax.

    <workdir>/checkpoints/latest/<step>/     the last two saved
    <workdir>/checkpoints/best/<step>/       the one with the highest validation score
    <workdir>/checkpoints/damaged/           damaged ones, which are not used

Each holds the state; as JSON, what is needed to use it: the configuration, the features and the
score; and the digests of its files. A step is written under another name, read back, given its
digests, and then renamed: a folder with a step's name was complete when it was written. A step that
does not match its digests is not used.
"""

import contextlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from damff_jax.run.checkpoint_errors import CheckpointError, CheckpointWarning
from damff_jax.system import digests, places
from damff_jax.training.train_state import TrainState

# How many steps are kept. If the latest is damaged, the one before is used; only one is the best.
_KEPT = {"latest": 2, "best": 1}

# A step while it is written. Orbax adds to the name.
_UNFINISHED = ".saving"

# The most memory that a checkpoint may allocate, relative to its size on the disk. A malicious one
# could claim any size; zeros compress well, but parameters hardly do.
_MAX_RATIO = 100


def warn(message: str) -> None:
    # stacklevel 1, so that the same warning is shown once, whatever the caller.
    warnings.warn(message, CheckpointWarning, stacklevel=1)


def steps_folder(workdir: str | os.PathLike, name: str) -> Path:
    return Path(workdir).absolute() / "checkpoints" / name


def step_path(workdir: str | os.PathLike, name: str, step: int) -> Path:
    return steps_folder(workdir, name) / str(step)


def steps(workdir: str | os.PathLike, name: str) -> list[int]:
    """The steps that have a folder, in ascending order."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        paths = [path for path in steps_folder(workdir, name).iterdir() if path.name.isdecimal()]
        return sorted(
            int(path.name) for path in paths
            if path.name == str(int(path.name)) and path.is_dir()
        )  # fmt: skip
    return []


def all_steps(workdir: str | os.PathLike) -> dict[str, list[int]]:
    return {name: steps(workdir, name) for name in _KEPT}


def newest_step(workdir: str | os.PathLike, name: str) -> int | None:
    """The newest undamaged step, or None; warns about newer, damaged ones.

    Raises:
      CheckpointError: `name` is latest, and all of its steps are damaged.
    """
    faults = {}
    for step in reversed(steps(workdir, name)):
        fault = find_fault(step_path(workdir, name, step))
        if fault is None:
            break
        faults[step] = fault
    else:
        # A running training may have replaced the listed steps.
        if any(step not in faults for step in steps(workdir, name)):
            return newest_step(workdir, name)
        step = None
    if faults and step is None and name == "latest":
        listed = "; ".join(f"step {step}: {fault}" for step, fault in faults.items())
        raise CheckpointError(f"{workdir}: all its latest checkpoints are damaged ({listed})")
    for damaged, fault in faults.items():
        instead = "there is no other" if step is None else f"falling back to step {step}"
        warn(f"{workdir}: the {name} checkpoint of step {damaged} is damaged ({fault}); {instead}")
    return step


def find_fault(path: Path) -> str | None:
    """What is wrong with a step's files; None if they are as written."""
    return digests.find_fault(path)


def write_step(workdir: Path, name: str, state: TrainState, meta: Mapping[str, Any]) -> None:
    """Writes a step and reads it back; then removes those that are no longer kept.

    Raises:
      CheckpointError: it could not be written, or what was read is not what was written; nothing
        of it is left.
    """
    folder, path = steps_folder(workdir, name), step_path(workdir, name, meta["step"])
    unfinished = folder / _UNFINISHED
    with _saving(folder, path):
        _write_checked(folder, state, meta)
        digests.write(unfinished)
        if path.exists():
            set_aside(path)
        unfinished.rename(path)
        digests.sync_folder(folder)
        # An interrupted run may have left a best state of a later step than this one.
        others = [step for step in steps(workdir, name) if step != meta["step"]]
        for step in others[: len(others) + 1 - _KEPT[name]]:
            # Renamed first: a reader finds a step complete or not at all.
            step_path(workdir, name, step).rename(unfinished)
            _remove(unfinished)


def check_writable(workdir: Path) -> None:
    """Checks that checkpoints can be written to a workdir and read back.

    Raises:
      CheckpointError: they cannot; nothing is left behind.
    """
    folder = steps_folder(workdir, "latest")
    with _saving(folder, folder):
        _write_checked(folder, {"tried": np.arange(2)}, {"step": 0})
        remove_unfinished(workdir)


def remove_unfinished(workdir: str | os.PathLike) -> None:
    """Removes what a save that failed, or was killed, has left."""
    for name in _KEPT:
        for path in steps_folder(workdir, name).glob(f"{_UNFINISHED}*"):
            _remove(path)


@contextlib.contextmanager
def _saving(folder: Path, path: Path) -> Iterator[None]:
    """Removes what is left of an unfinished step, before and after an error, which names `path`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder.parents[1])
        yield
    except Exception as error:  # Orbax and file systems raise many kinds.
        with contextlib.suppress(OSError):
            remove_unfinished(folder.parents[1])
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path}: cannot be saved ({reason})") from error


def _write_checked(
    folder: Path, state: TrainState | Mapping[str, Any], meta: Mapping[str, Any]
) -> None:
    """Writes an unfinished step, and checks that what is read is what was written."""
    fields = state if isinstance(state, Mapping) else vars(state)
    with places.plain_path(folder) as plain, _checkpointer() as checkpointer:
        path = plain / _UNFINISHED
        args = {"state": ocp.args.StandardSave(state), "meta": ocp.args.JsonSave(meta)}
        checkpointer.save(path, args=ocp.args.Composite(**args))
        written = jax.tree.leaves(dict(fields))
        read = jax.tree.leaves(_restore(checkpointer, path, fields))
        same = len(written) == len(read) and all(map(_same_bytes, written, read))
        if not same or _restore_meta(checkpointer, path) != json.loads(json.dumps(meta)):
            raise OSError("what is read is not what was written")


def _same_bytes(x: Any, y: Any) -> bool:
    x, y = np.asarray(x), np.asarray(y)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def _size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def set_aside(path: Path) -> None:
    """Moves a damaged step to the folder `damaged`, so that the user can decide about it."""
    damaged = path.parents[1] / "damaged" / f"{path.parent.name}-{path.name}"
    damaged.parent.mkdir(exist_ok=True)
    _remove(damaged)
    path.rename(damaged)


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    """A checkpointer of this process alone, even if there are other JAX processes."""
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
def _reading(path: Path) -> Iterator[tuple[ocp.Checkpointer, Path]]:
    try:
        with places.plain_path(path) as plain, _checkpointer() as checkpointer:
            yield checkpointer, plain
    except CheckpointError:
        raise
    except Exception as error:  # Orbax raises many kinds.
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: cannot be read ({reason})") from error


def read_meta(path: Path) -> dict[str, Any]:
    with _reading(path) as (checkpointer, plain):
        return _restore_meta(checkpointer, plain)


def _restore_meta(checkpointer: ocp.Checkpointer, path: Path) -> dict[str, Any]:
    return checkpointer.restore(path, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]


def restore_state(path: Path, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A state's fields as numpy arrays.

    Args:
      like: the expected fields, which are restored into their containers; None for all fields, as
        dictionaries.

    Raises:
      CheckpointError: other fields were saved.
    """
    with _reading(path) as (checkpointer, plain):
        try:
            return _restore(checkpointer, plain, like)
        except _ContentError as error:
            raise CheckpointError(f"{path}: {error}") from None


class _ContentError(ValueError):
    """A step holds something else than a state."""


def _restore(
    checkpointer: ocp.Checkpointer, path: Path, like: Mapping[str, Any] | None
) -> dict[str, Any]:
    stored = checkpointer.metadata(path).item_metadata["state"].tree
    target = dict(stored)
    if like is not None:
        target = {name: value for name, value in like.items() if name in stored}
        if not stored.keys() == target.keys() == like.keys():
            raise _ContentError(f"holds {sorted(stored)} instead of a state")
    size = sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(target))
    if size > _MAX_RATIO * _size_of(path):
        raise _ContentError(f"claims to hold {size} bytes, far more than its size")
    target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), target)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    return checkpointer.restore(path, args=args)["state"]
