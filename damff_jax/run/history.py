"""The starts of a run, in `history.json` of its workdir: when, by which command, and on what.

Nothing else in a workdir depends on the clock or the machine, apart from TensorBoard's files.
"""

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from damff_jax.system import machine
from damff_jax.system.files import atomic_write

NAME = "history.json"
_PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    *("tensorflow", "tensorflow-datasets"),
)


def read(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The starts, the first one first; none if there is no such file or it is damaged."""
    try:
        starts = json.loads((Path(workdir) / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    is_list = isinstance(starts, list) and all(isinstance(start, dict) for start in starts)
    return starts if is_list else []


def begin(workdir: str | os.PathLike, mode: str, command: Sequence[str]) -> None:
    """Records a start.

    Args:
      mode: train or evaluate.
      command: that of the program, empty if it was called from Python.

    Raises:
      OSError: the file cannot be written.
    """
    start = {
        "mode": mode,
        "command": list(command),
        "started": _now().isoformat(timespec="milliseconds"),
        "ended": None,
        "versions": machine.versions(_PACKAGES),
        "device": machine.device(),
    }
    _write(workdir, [*read(workdir), start])


def end(workdir: str | os.PathLike) -> None:
    """Records that the last start is done.

    Raises:
      OSError: the file cannot be written.
    """
    starts = read(workdir)
    if starts:
        starts[-1]["ended"] = _now().isoformat(timespec="milliseconds")
        _write(workdir, starts)


def seconds(start: Mapping[str, Any]) -> float | None:
    """How long a start took; None if it was interrupted."""
    if start["ended"] is None:
        return None
    ended, started = (datetime.datetime.fromisoformat(start[x]) for x in ("ended", "started"))
    return (ended - started).total_seconds()


def _write(workdir: str | os.PathLike, starts: Sequence[Mapping[str, Any]]) -> None:
    with atomic_write(Path(workdir) / NAME) as file:
        json.dump(starts, file, indent=1)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
