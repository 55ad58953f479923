"""Several processes that train together, usually one per host.

All processes load the songs, take their part of every batch, and evaluate their share of the songs;
the first writes the files. An exception in one process ends all of them, because the others wait
for it: see `agreed`.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from flax import serialization
from jax.experimental import multihost_utils

from damff_jax.run.peers import HEARTBEAT_SECONDS, Peers
from damff_jax.system import preemption
from damff_jax.system.preemption import Preempted
from damff_jax.training import parallel

# The first process evaluates last, for longer than JAX would wait by default.
_SHUTDOWN_SECONDS = 24 * 3600
# An error common to all processes is raised in all, but not at the same time.
_GRACE_SECONDS = 10

_Error = TypeVar("_Error", bound=BaseException)


class ProcessesError(ValueError):
    """Processes cannot connect to each other, or the first has failed; the message is one line."""


class Silent:
    """Replaces the writers of the first process in other processes: accepts every call."""

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
    *,
    peers: Peers | None = None,
) -> None:
    """Connects to the other processes, before any other use of JAX, which finds them on TPU pods.

    Args:
      peers: reports the loss of another process from then on.

    Raises:
      ProcessesError: the other processes are not found.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise agreed(
            ProcessesError(f"--multihost: the other processes were not found ({reason})")
        ) from None
    # Connections are made at their first use, for which the CPU backend waits half a minute at
    # most. All processes are here now; later, one may be busy preparing songs.
    jax.block_until_ready(parallel.any_device()(False))
    if peers is not None:
        found = gathered({"address": peers.listen()})
        peers.meet([one["address"] for one in found], jax.process_index())


def agreed(error: _Error) -> _Error:
    """Marks and returns an exception after which no other process waits for this one.

    Either all processes raise it, or the others have finished.
    """
    error.agreed = True  # type: ignore[attr-defined]  # Exceptions can have attributes.
    return error


def is_agreed(error: BaseException) -> bool:
    return getattr(error, "agreed", False)


def leave(status: int, peers: Peers) -> None:
    """Ends this process without waiting for the others, as a normal exit would.

    They lose the connection, and end too.
    """
    peers.part(status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    goodbye = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    goodbye.start()
    goodbye.join(_GRACE_SECONDS)
    os._exit(status)


def position() -> tuple[int, int]:
    """This process's number and the number of processes."""
    return jax.process_index(), jax.process_count()


def is_first() -> bool:
    return jax.process_index() == 0


def from_first(function: Callable[[], Any]) -> Any:
    """Calls a function in the first process only; returns its value in all, by way of JSON.

    Raises:
      Preempted: in all processes, if a signal came to the first.
      ProcessesError: in the others, if the first raised anything else.
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
            error, answer = raised, {"error": _reason(raised)}
    # Otherwise a signal to all processes could interrupt some of them in between.
    with preemption.held_back():
        text = _bytes_from_first(json.dumps(answer).encode())
    if error is not None:
        raise agreed(error)
    answer = json.loads(text)
    if "signal" in answer:
        raise agreed(Preempted(answer["signal"]))
    if "error" in answer:
        raise agreed(ProcessesError(f"in the first process: {answer['error']}"))
    return answer["value"]


def _bytes_from_first(own: bytes) -> bytes:
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(own))))
    sent = np.frombuffer(own, np.uint8) if is_first() else np.zeros(length, np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(sent)))


def tree_from_first(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The first process's tree of arrays in all processes, whatever that of the others."""
    if jax.process_count() == 1:
        return dict(tree)
    with preemption.held_back():
        content = _bytes_from_first(serialization.msgpack_serialize(dict(tree)))
    return serialization.msgpack_restore(content)


def gathered(tree: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All processes' trees of arrays, strings and numbers, in their order, in all of them."""
    if jax.process_count() == 1:
        return [dict(tree)]
    own = np.frombuffer(serialization.msgpack_serialize(dict(tree)), np.uint8)
    with preemption.held_back():
        lengths = np.ravel(multihost_utils.process_allgather(np.int32(len(own))))
        padded = np.zeros(lengths.max(), np.uint8)
        padded[: len(own)] = own
        rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(lengths), -1)
    return [
        serialization.msgpack_restore(row[:length].tobytes())
        for row, length in zip(rows, lengths, strict=True)
    ]


def in_all(function: Callable[[], Any]) -> Any:
    """Calls a function in every process; returns its own value when it has returned in all.

    Raises:
      Preempted: in all processes, if a signal came to one of them.
      ProcessesError: in the others, if one raised anything else; the message names it.
    """
    if jax.process_count() == 1:
        return function()
    error: BaseException | None = None
    value = None
    outcome: dict[str, Any] = {}
    try:
        value = function()
    except Preempted as raised:
        error, outcome = raised, {"signal": int(raised.signal)}
    except BaseException as raised:
        error, outcome = raised, {"error": _reason(raised)}
    outcomes = gathered(outcome)
    if error is not None:
        raise agreed(error)
    for number, other in enumerate(outcomes):
        if "signal" in other:
            raise agreed(Preempted(other["signal"]))
        if "error" in other:
            raise agreed(ProcessesError(f"in process {number}: {other['error']}"))
    return value


def first_before_others(function: Callable[[], Any]) -> Any:
    """Calls a function in the first process and, when it has finished, in all others.

    Raises:
      Preempted, ProcessesError: see `from_first` and `in_all`.
    """
    results: list[Any] = []
    from_first(lambda: results.append(function()))
    return in_all(lambda: results[0] if results else function())


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def all_others_done() -> Iterator[None]:
    """Within this context, no other process waits for this one, whatever is raised."""
    try:
        yield
    except BaseException as error:
        agreed(error)
        raise


def arrays_from_first(tree: Any) -> Any:
    """The first process's arrays in all processes, placed like the arrays of `tree`."""
    if jax.process_count() == 1:
        return tree
    values = multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))
    return jax.tree.map(
        lambda value, old: jax.device_put(np.asarray(value), old.sharding), values, tree
    )


class Agreement:
    """Whether any process has said yes: all get the same answer at the same step.

    The answer is that of the previous step, so that no device waits for the host.
    """

    def __init__(self):
        self._any = parallel.any_device() if jax.process_count() > 1 else None
        self._pending = None

    def __call__(self, yes: bool) -> bool:
        if self._any is None:
            return yes
        before, self._pending = self._pending, self._any(yes)
        return before is not None and bool(before)
