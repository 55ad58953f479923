"""The files of a run's checkpoints, by Orbax.

    <workdir>/checkpoints/latest/<step>/     the last two saved
    <workdir>/checkpoints/best/<step>/       the one with the highest validation score
    <workdir>/checkpoints/damaged/           damaged ones, which are not used

Each holds the state and, as JSON, what is needed to use it without the program that wrote it:
the configuration, the features and the score; and the digests of its files. A step is written
under another name, with its digests, and then renamed: a folder with a step's name was complete
when it was written. One that differs from its digests is not used.
"""

import contextlib
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
from damff_jax.system import digests
from damff_jax.training.train_state import TrainState

# How many steps are kept. The latest has one to fall back on; another best would not be the best.
_KEPT = {"latest": 2, "best": 1}

# What a stranger's checkpoint can make us allocate, by what it takes on the disk; moments of zeros
# are compressed, but parameters hardly.
_MAX_RATIO = 100


def warn(message: str) -> None:
    # From here, whoever calls: the same warning is shown once.
    warnings.warn(message, CheckpointWarning, stacklevel=1)


def steps_folder(workdir: str | os.PathLike, name: str) -> Path:
    return Path(workdir).absolute() / "checkpoints" / name


def step_path(workdir: str | os.PathLike, name: str, step: int) -> Path:
    return steps_folder(workdir, name) / str(step)


def steps(workdir: str | os.PathLike, name: str) -> list[int]:
    """The steps that there is a folder of, in rising order."""
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
    """The newest step that is as it was written, None without any; warns of others.

    Raises:
      CheckpointError: there are steps of the latest state, and all are damaged.
    """
    faults = {}
    for step in reversed(steps(workdir, name)):
        fault = find_fault(step_path(workdir, name, step))
        if fault is None:
            break
        faults[step] = fault
    else:
        # While a training goes on, what was listed may have been replaced.
        if any(step not in faults for step in steps(workdir, name)):
            return newest_step(workdir, name)
        step = None
    if faults and step is None and name == "latest":
        listed = "; ".join(f"step {step}: {fault}" for step, fault in faults.items())
        raise CheckpointError(f"{workdir}: all its latest checkpoints are damaged ({listed})")
    for damaged, fault in faults.items():
        instead = "there is no other" if step is None else f"taking step {step}"
        warn(f"{workdir}: the {name} checkpoint of step {damaged} is damaged ({fault}); {instead}")
    return step


def find_fault(path: Path) -> str | None:
    """What is wrong with a step's files; None: they are as written."""
    return digests.find_fault(path)


def write_step(workdir: Path, name: str, state: TrainState, meta: Mapping[str, Any]) -> None:
    """Writes a step, and removes those that are not kept once it is on the disk."""
    folder, path = steps_folder(workdir, name), step_path(workdir, name, meta["step"])
    aside = folder / ".saving"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(aside)
        args = {"state": ocp.args.StandardSave(state), "meta": ocp.args.JsonSave(meta)}
        with _checkpointer() as checkpointer:
            checkpointer.save(aside, args=ocp.args.Composite(**args))
        digests.write(aside)
        if path.exists():
            set_aside(path)
        aside.rename(path)
        digests.sync_folder(folder)
        # Another best state than this one may be of a later step, by a run that was broken off.
        others = [step for step in steps(workdir, name) if step != meta["step"]]
        for step in others[: len(others) + 1 - _KEPT[name]]:
            # Away at once: a reader finds a step whole or not at all.
            step_path(workdir, name, step).rename(aside)
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


def set_aside(path: Path) -> None:
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


def read_meta(path: Path) -> dict[str, Any]:
    args = ocp.args.Composite(meta=ocp.args.JsonRestore())
    with _reading(path) as checkpointer:
        return checkpointer.restore(path, args=args)["meta"]


def restore_state(path: Path, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
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
            if not stored.keys() == target.keys() == like.keys():
                raise CheckpointError(f"{path}: holds {sorted(stored)} in the place of a state")
        size = sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(target))
        if size > _MAX_RATIO * _size_of(path):
            raise CheckpointError(f"{path}: says that it holds {size} bytes, far more than it has")
        target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), target)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        return checkpointer.restore(path, args=args)["state"]
