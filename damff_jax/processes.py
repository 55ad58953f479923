"""Several processes that train together, usually one per host.

All load the songs, take their part of every batch, and validate; the first writes the files.
"""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from damff_jax import parallel

# The last to evaluate may take longer than JAX would wait.
_SHUTDOWN_SECONDS = 24 * 3600


class ProcessesError(ValueError):
    """Processes do not find each other, or the first has failed; the message is one line."""


class Silent:
    """Stands in for what the first process writes with: takes every call, and does nothing."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *args, **kwargs: None

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *exception) -> None:
        pass


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes, before anything else of JAX; on TPU pods it finds them itself.

    Raises:
      ProcessesError: they are not found.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ProcessesError(f"--multihost: the other processes are not found ({reason})") from None
    # Connections are made at their first use, for which CPUs wait for half a minute and no longer.
    # Now all are here; later, one may have songs to prepare or a slow disk.
    jax.block_until_ready(parallel.any_device()(False))
    multihost_utils.broadcast_one_to_all(np.int32(0))


def is_first() -> bool:
    return jax.process_index() == 0


def from_first(function: Callable[[], Any]) -> Any:
    """Calls a function on the first process alone; gives its value, as of JSON, on all.

    Raises:
      ProcessesError: on the others, if it raised a ValueError or OSError there.
    """
    if jax.process_count() == 1:
        return function()
    error, answer = None, {}
    if is_first():
        try:
            answer = {"value": function()}
        except (ValueError, OSError) as raised:
            error, answer = raised, {"error": str(raised)}
    text = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = multihost_utils.broadcast_one_to_all(text if is_first() else np.zeros(length, np.uint8))
    if error is not None:
        raise error
    answer = json.loads(bytes(np.asarray(text)))
    if "error" in answer:
        raise ProcessesError(f"the first process: {answer['error']}")
    return answer["value"]


def arrays_from_first(tree: Any) -> Any:
    """The first process's arrays on all, placed as those that each gives."""
    if jax.process_count() == 1:
        return tree
    values = multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))
    return jax.tree.map(
        lambda value, old: jax.device_put(np.asarray(value), old.sharding), values, tree
    )


class Agreement:
    """Whether any process has said yes: the same answer on all, at the same of their steps.

    The answer is that of the step before, so that no device waits for the host.
    """

    def __init__(self):
        self._any = parallel.any_device() if jax.process_count() > 1 else None
        self._pending = None

    def __call__(self, yes: bool) -> bool:
        if self._any is None:
            return yes
        before, self._pending = self._pending, self._any(yes)
        return before is not None and bool(before)
