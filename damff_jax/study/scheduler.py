"""Executes the remaining runs of a study, several programs at a time."""

import concurrent.futures
import fcntl
import json
import os
import queue
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from damff_jax.study import StudyError
from damff_jax.study.runs import PREDICTIONS, StudyRun
from damff_jax.system.files import atomic_write
from damff_jax.system.subprocesses import environment


def run_all(
    runs: Sequence[StudyRun], *, jobs: int = 1, again: bool = False
) -> Iterator[tuple[StudyRun, str]]:
    """Executes runs that are not complete; yields every run when it is, with '' or why it failed.

    Args:
      runs: each after those that it starts from.
      jobs: runs at a time; each gets its own share of the processor's cores, because small models
        gain more from that than from sharing all cores.
      again: repeats completed runs too, from the beginning.

    Raises:
      StudyError: a run was completed by another recipe, or starts from one that is neither complete
        nor before it; then nothing is executed.
    """
    outcomes = {path: "" for path in _done_before(runs, again)}  # '' or why it failed.
    share = _Cores(jobs)
    waiting = list(runs)
    running: dict[concurrent.futures.Future[str], StudyRun] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as executor:
        try:
            while waiting or running:
                for run in list(waiting):
                    before = [(r, outcomes.get(r.workdir)) for r in run.after]
                    if broken := [r for r, outcome in before if outcome]:
                        outcomes[run.workdir] = f"{broken[0]} failed"
                    elif run.workdir not in outcomes:
                        if len(running) < jobs and all(outcome == "" for _, outcome in before):
                            waiting.remove(run)
                            job = executor.submit(share.execute, run, again=again)
                            running[job] = run
                        continue
                    waiting.remove(run)
                    yield run, outcomes[run.workdir]
                for job in concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done:
                    run = running.pop(job)
                    outcomes[run.workdir] = job.result()
                    yield run, outcomes[run.workdir]
        finally:
            for job in running:
                job.cancel()


def _done_before(runs: Sequence[StudyRun], again: bool) -> set[Path]:
    """Workdirs of completed runs, including those outside `runs` that others start from."""
    known: set[Path] = set()
    done: set[Path] = set()
    for run in runs:
        if not again and run.is_done():
            done.add(run.workdir)
        if lacking := [r for r in run.after if r.workdir not in known and not r.is_done()]:
            raise StudyError(f"{run} starts from {lacking[0]}, which is not run before it")
        known.add(run.workdir)
    return done | {r.workdir for run in runs for r in run.after if r.workdir not in known}


class _Cores:
    """Divides the processor's cores among jobs."""

    def __init__(self, jobs: int):
        self._jobs = jobs
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._shares: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for job in range(jobs):
            self._shares.put(cores[job::jobs] or cores)

    def execute(self, run: StudyRun, *, again: bool) -> str:
        """Runs a program on a share of the cores; '' or why it failed."""
        share = self._shares.get()
        try:
            if share:
                os.sched_setaffinity(0, share)  # Of this thread; its child inherits it.
            return _execute(run, again=again, n_jobs=self._jobs)
        finally:
            self._shares.put(share)


def _execute(run: StudyRun, *, again: bool, n_jobs: int) -> str:
    try:
        return _execute_alone(run, again=again, n_jobs=n_jobs)
    except OSError as error:
        return str(error)


def _execute_alone(run: StudyRun, *, again: bool, n_jobs: int) -> str:
    run.workdir.mkdir(parents=True, exist_ok=True)
    with open(run.workdir / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"another process is running it ({run.workdir}/lock)"
        if again:
            # First, so that if this is interrupted, the rest is not taken for a completed run.
            (run.workdir / "study.json").unlink(missing_ok=True)
            for path in run.workdir.iterdir():
                if path.name != "lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        # The program inherits the lock, so that it is not started twice if it outlives us.
        return _execute_locked(run, lock.fileno(), n_jobs)


def _execute_locked(run: StudyRun, lock: int, n_jobs: int) -> str:
    log = run.workdir / "log.txt"
    variables = environment()
    if n_jobs > 1:
        # Otherwise the first would take nearly all memory of a shared accelerator.
        variables.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    started = time.monotonic()
    with open(log, "ab") as file:
        before = file.tell()
        code = subprocess.run(
            run.command(),
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=(lock,),
            env=variables,
            check=False,
        ).returncode
    if code:
        output = log.read_bytes()[before:].decode(errors="replace")
        lines = output.strip().splitlines()
        return f"exit status {code}: {lines[-1] if lines else 'no output'} (see {log})"
    if run.predicts and not (run.workdir / PREDICTIONS).is_file():
        return f"exit status 0, but no {PREDICTIONS} (see {log})"
    seconds = time.monotonic() - started
    with atomic_write(run.workdir / "study.json") as file:
        record = {"recipe": list(run.recipe), "seconds": round(seconds, 1), "ended": time.time()}
        json.dump(record, file)
    return ""
