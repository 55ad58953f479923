"""Several processes that train together, usually one per host.

All load the songs, take their part of every batch, and validate; the first writes the files. What
is raised in one of them alone ends all, because the others wait for it: see `agreed`.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from damff_jax.system import preemption
from damff_jax.system.preemption import Preempted
from damff_jax.training import parallel

# The last to evaluate may take longer than JAX would wait.
_SHUTDOWN_SECONDS = 24 * 3600
# What is wrong for all is raised in all, if not at the same time.
_GRACE_SECONDS = 10

_Error = TypeVar("_Error", bound=BaseException)


class ProcessesError(ValueError):
    """Processes do not find each other, or the first has failed; the message is one line."""


class Silent:
    """Stands in for what the first process writes with: takes every call, and does nothing."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *args, **kwargs: None

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *exception: object) -> None:
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
        raise agreed(
            ProcessesError(f"--multihost: the other processes are not found ({reason})")
        ) from None
    # Connections are made at their first use, for which CPUs wait for half a minute and no longer.
    # Now all are here; later, one may have songs to prepare or a slow disk.
    jax.block_until_ready(parallel.any_device()(False))
    multihost_utils.broadcast_one_to_all(np.int32(0))


def agreed(error: _Error) -> _Error:
    """Marks an exception after which no other process waits for this one; gives it back.

    Either all raise, or the others are at their end.
    """
    error.agreed = True  # type: ignore[attr-defined]  # Exceptions take attributes.
    return error


def is_agreed(error: BaseException) -> bool:
    return getattr(error, "agreed", False)


def leave(status: int) -> None:
    """Ends this process, even if the others do not come to their end.

    They lose the connection, and end too: at a normal exit, they would be waited for.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    goodbye = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    goodbye.start()
    goodbye.join(_GRACE_SECONDS)
    os._exit(status)


def is_first() -> bool:
    return jax.process_index() == 0


def from_first(function: Callable[[], Any]) -> Any:
    """Calls a function on the first process alone; gives its value, as of JSON, on all.

    Raises:
      Preempted: by a signal to the first, on all.
      ProcessesError: on the others, if anything else was raised there.
    """
    if jax.process_count() == 1:
        return function()
    error: BaseException | None = None
    answer: dict[str, Any] = {}
    if is_first():
        try:
            answer = {"value": function()}
        except Preempted as raised:
            error, answer = raised, {"signal": raised.signal}
        except BaseException as raised:
            reason = " ".join(str(raised).split()) or type(raised).__name__
            error, answer = raised, {"error": reason}
    # Or a signal to all would let some of them miss a part.
    with preemption.held_back():
        own = np.frombuffer(json.dumps(answer).encode(), np.uint8)
        length = int(multihost_utils.broadcast_one_to_all(np.int32(len(own))))
        sent = own if is_first() else np.zeros(length, np.uint8)
        text = bytes(np.asarray(multihost_utils.broadcast_one_to_all(sent)))
    if error is not None:
        raise agreed(error)
    answer = json.loads(text)
    if "signal" in answer:
        raise agreed(Preempted(answer["signal"]))
    if "error" in answer:
        raise agreed(ProcessesError(f"the first process: {answer['error']}"))
    return answer["value"]


def first_before_others(function: Callable[[], Any]) -> Any:
    """Calls a function in the first process and, when that is done, in all others.

    Raises:
      Preempted, ProcessesError: see `from_first`.
    """
    if jax.process_count() > 1:
        from_first(lambda: bool(function()))
    return function()


@contextlib.contextmanager
def all_others_done() -> Iterator[None]:
    """Within, no process waits for this one, whatever is raised."""
    try:
        yield
    except BaseException as error:
        agreed(error)
        raise


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
