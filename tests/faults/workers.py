"""Trials in worker processes, so that a trial that hangs or dies does not end the campaign."""

import collections
import importlib
import multiprocessing
import os
import resource
import time
import warnings
from multiprocessing.connection import Connection, wait
from pathlib import Path

OUTCOMES = ("refused", "handled", "silent", "crashed", "hung")
GOOD = ("refused", "handled")
# Time to import the tested code and to read the inputs.
_START_SECONDS = 600
# A trial that takes this much more memory than before is unbounded.
_MEMORY_MB = 700


def run_trials(
    kind: str, n: int, *, folder: Path, seed: int, workers: int, limit: float
) -> tuple[collections.Counter, list[str]]:
    """Runs n trials of a kind, each a function of (seed, number).

    Args:
      kind: a module next to this one, which has `make_inputs(folder, seed)` and
        `Trials(folder, seed)`, whose `run(number)` returns an outcome and what happened.
      limit: seconds per trial.

    Returns:
      The count of each outcome, and a line per bad one.

    Raises:
      RuntimeError: a worker does not reach its first trial.
    """
    counts: collections.Counter = collections.Counter()
    bad: list[tuple[int, str]] = []
    numbers = iter(range(n))

    def note(number: int, outcome: str, what: str) -> None:
        counts[outcome] += 1
        if outcome not in GOOD:
            bad.append((number, f"{kind} {number}: {outcome}: {what}"))

    crew = [_Worker(kind, folder, seed) for _ in range(min(workers, n))]
    try:
        while crew:
            for worker in crew:
                if worker.ready and worker.number is None:
                    worker.give(next(numbers, None), limit)
            crew = [worker for worker in crew if not worker.done]
            timeout = max(0.0, min((w.deadline for w in crew), default=0.0) - time.monotonic())
            said = wait([worker.connection for worker in crew], timeout)
            for i, worker in enumerate(crew):
                if worker.connection in said:
                    answer = worker.answer()
                elif time.monotonic() > worker.deadline:
                    answer = "hung", f"no end after {limit:g} s"
                else:
                    continue
                if worker.number is None:
                    if answer[0] != "ready":
                        raise RuntimeError(f"{kind}: a worker does not start: {answer[1]}")
                    worker.ready = True
                    continue
                note(worker.number, *answer)
                worker.number = None
                if answer[0] == "hung" or worker.connection.closed:
                    worker.end()
                    crew[i] = _Worker(kind, folder, seed)
    finally:
        for worker in crew:
            worker.end()
    return counts, [line for _, line in sorted(bad)]


class _Worker:
    def __init__(self, kind: str, folder: Path, seed: int):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(kind, folder, seed, theirs))
        self._process.start()
        theirs.close()
        self.ready, self.done, self.number = False, False, None
        self.deadline = time.monotonic() + _START_SECONDS

    def give(self, number: int | None, limit: float) -> None:
        self.number, self.deadline = number, time.monotonic() + limit
        try:
            self.connection.send(number)
        except OSError:
            return  # It has died; `answer` reports that.
        if number is None:
            self.done = True
            self._process.join()

    def answer(self) -> tuple[str, str]:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            self.connection.close()
            return "crashed", f"the process died with exit status {self._process.exitcode}"

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _work(kind: str, folder: Path, seed: int, connection: Connection) -> None:
    # The tested code may print a lot.
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    warnings.simplefilter("always")
    trials = importlib.import_module(f"tests.faults.{kind}").Trials(folder, seed)
    connection.send(("ready", ""))
    before = _peak_mb()
    for number in iter(connection.recv, None):
        try:
            answer = trials.run(number)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            answer = "crashed", f"{getattr(trials, 'what', '')}: {type(error).__name__}: {reason}"
        peak = _peak_mb()
        if peak > before + _MEMORY_MB:
            answer = "crashed", f"{getattr(trials, 'what', '')}: took {peak - before:.0f} MB"
        before = max(before, peak)
        connection.send(answer)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
