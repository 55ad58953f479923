"""Timing works in turns: what is compared runs in one process, at one time, in one state.

On a shared or throttled machine speeds drift within seconds. So every round gives each work a turn,
in an order that alternates, and works are compared round by round.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Work:
    """What is timed.

    Attributes:
      call: does the work, or starts it.
      barrier: waits for what `call` gave.
      pipelined: whether a turn of several calls waits at its end only, as a training loop does. For
        accelerators, whose queue keeps the order; a CPU could overlap calls.
    """

    call: Callable[[], Any]
    barrier: Callable[[Any], Any] = lambda result: None
    pipelined: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to measure: until both limits are reached.

    Args:
      rounds: at least.
      seconds: at least, all works together.
      turn_seconds: a turn is as many calls as last this long, so that neither the clock's
        resolution nor another library's spinning threads count.
      warmup: calls before the first round, of each work.
    """

    rounds: int = 10
    seconds: float = 2.0
    turn_seconds: float = 0.1
    warmup: int = 2


def in_turns(
    works: Mapping[str, Work], plan: Plan, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds per call of every work, by round: (rounds,) each."""
    n_calls = {}
    for name, work in works.items():
        for _ in range(plan.warmup):
            seconds = _turn(work, 1, clock)
        n_calls[name] = max(1, math.ceil(plan.turn_seconds / max(seconds, 1e-9)))
    measured: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    started, n_rounds = clock(), 0
    while n_rounds < plan.rounds or clock() - started < plan.seconds:
        for name in order:
            measured[name].append(_turn(works[name], n_calls[name], clock) / n_calls[name])
        order.reverse()
        n_rounds += 1
    return {name: np.array(seconds) for name, seconds in measured.items()}


def _turn(work: Work, n_calls: int, clock: Callable[[], float]) -> float:
    started = clock()
    for _ in range(n_calls):
        result = work.call()
        if not work.pipelined:
            work.barrier(result)
    if work.pipelined:
        work.barrier(result)
    return clock() - started


def median_and_spread(values: np.ndarray) -> tuple[float, float]:
    """The median, and the distance between the quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return float(median), float(high - low)
