"""Timing works in turns: the works to compare run alternately in one process.

On a shared or throttled machine, speeds drift within seconds. So every round gives each work a
turn, in alternating order, and works are compared round by round.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Work:
    """A piece of work to time.

    Attributes:
      call: does the work, or starts it.
      barrier: waits for the result of `call`.
      pipelined: whether a turn of several calls waits only at its end, as a training loop does. For
        accelerators, which execute calls in order; a CPU could overlap them.
    """

    call: Callable[[], Any]
    barrier: Callable[[Any], Any] = lambda result: None
    pipelined: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to measure: until both minima are reached.

    Args:
      rounds: minimum number of rounds.
      seconds: minimum time of all works together.
      turn_seconds: a turn has as many calls as last this long, so that neither the clock's
        resolution nor another library's spinning threads matter.
      warmup: calls of each work before the first round.
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
    """The median and the interquartile range."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return float(median), float(high - low)
