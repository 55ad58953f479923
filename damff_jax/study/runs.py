"""The runs of a study: a system on a fold with a seed, each a program in a process of its own.

    <study_dir>/<system>/fold<k>_seed<s>/    the run's workdir, and in it
        study.json                           its recipe and how long it took, once it is done
        log.txt                              what it printed

A run that is done is not run again; one that was broken off goes on from its checkpoint.
"""

import concurrent.futures
import dataclasses
import json
import os
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from damff_jax.files import write_aside
from damff_jax.study import StudyError

PREDICTIONS = "predictions_test.csv"


@dataclasses.dataclass(frozen=True)
class Run:
    """A system on a fold with a seed.

    Attributes:
      recipe: arguments after the Python interpreter's name, in which {workdir}, {init_from},
        {manual_dir} and {data_dir} stand for the places that `places` says. What a run is does not
        depend on those.
      after: runs that must be done before this one.
    """

    system: str
    fold: int
    seed: int
    workdir: Path
    recipe: tuple[str, ...]
    places: Mapping[str, Any]
    after: tuple["Run", ...] = ()

    def __str__(self) -> str:
        return f"{self.system}/{self.workdir.name}"

    def is_done(self) -> bool:
        """Whether the run's outcome is there.

        Raises:
          StudyError: it is that of another command.
        """
        record = self.record()
        if record is None:
            return False
        if record["recipe"] != list(self.recipe):
            changed = set(map(str, record["recipe"])) ^ set(self.recipe)
            raise StudyError(
                f"{self.workdir} was made by another recipe ({', '.join(sorted(changed))}); "
                "run it --again or take another --study_dir"
            )
        return True

    def record(self) -> dict[str, Any] | None:
        """What study.json says; None before the run is done."""
        try:
            return json.loads((self.workdir / "study.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StudyError(f"{self.workdir}/study.json: {error}") from error


def plan(
    study: Mapping[str, Any],
    study_dir: Path,
    *,
    systems: Sequence[str],
    folds: Sequence[int],
    seeds: Sequence[int],
    manual_dir: str = "",
    data_dir: str = "data",
    extra: Sequence[str] = (),
) -> list[Run]:
    """The runs of some of a study's systems, pretraining included, in an order to run them.

    Args:
      study: see `configs/studies/vgmidi.py` for what stands in it.
      extra: arguments added to every command of `train.py`.

    Raises:
      StudyError: the study has no such system.
    """
    runs: dict[Path, Run] = {}

    def add(name: str, fold: int, seed: int) -> Run:
        if name not in study["systems"]:
            raise StudyError(f"no system {name!r}; there are {', '.join(study['systems'])}")
        system = study["systems"][name]
        # What a system starts from has seen no song of any fold, so all folds share it.
        stem = f"seed{seed}" if system.get("pretraining") else f"fold{fold}_seed{seed}"
        workdir = study_dir / name / stem
        if workdir in runs:
            return runs[workdir]
        places = {"workdir": workdir, "manual_dir": manual_dir, "data_dir": data_dir}
        after: tuple[Run, ...] = ()
        if system.get("init_from"):
            after = (add(system["init_from"], fold, seed),)
            places["init_from"] = after[0].workdir
        recipe = [
            argument.replace("{fold}", str(fold)).replace("{seed}", str(seed))
            for argument in system["command"]
        ]
        if recipe[0] == "train.py":
            recipe += extra
        runs[workdir] = Run(name, fold, seed, workdir, tuple(recipe), places, after)
        return runs[workdir]

    # A whole seed first, so that a study that is broken off has a table of fewer seeds.
    for seed in seeds:
        for name in systems:
            for fold in folds:
                add(name, fold, seed)
    return list(runs.values())


def run_all(
    runs: Sequence[Run], *, jobs: int = 1, again: bool = False
) -> Iterator[tuple[Run, str]]:
    """Runs what is not done; gives every run, when it is, with '', or the reason why it failed.

    Args:
      jobs: runs at a time; the processor's cores are shared out among them, because small models
        gain more from a core each than from cores in common.
      again: runs also what is done, from the start.
    """
    if again:
        for run in runs:
            shutil.rmtree(run.workdir, ignore_errors=True)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares: queue.SimpleQueue = queue.SimpleQueue()
    for job in range(jobs):
        shares.put(cores[job::jobs] or cores)

    def execute(run: Run) -> str:
        share = shares.get()
        try:
            if share:
                os.sched_setaffinity(0, share)  # Of this thread; its child inherits it.
            return _execute(run)
        finally:
            shares.put(share)

    failed: dict[Path, str] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as executor:
        waiting, running = list(runs), {}
        try:
            while waiting or running:
                for run in list(waiting):
                    if broken := [r for r in run.after if r.workdir in failed]:
                        failed[run.workdir] = f"{broken[0]} failed"
                        waiting.remove(run)
                        yield run, failed[run.workdir]
                    elif len(running) < jobs and all(r.is_done() for r in run.after):
                        waiting.remove(run)
                        if run.is_done():
                            yield run, ""
                        else:
                            running[executor.submit(execute, run)] = run
                if not running:
                    continue
                finished, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in finished:
                    run = running.pop(future)
                    if reason := future.result():
                        failed[run.workdir] = reason
                    yield run, reason
        finally:
            for future in running:
                future.cancel()


def _execute(run: Run) -> str:
    run.workdir.mkdir(parents=True, exist_ok=True)
    log = run.workdir / "log.txt"
    started = time.monotonic()
    with open(log, "a", encoding="utf-8") as file:
        code = subprocess.run(
            [sys.executable, *(a.format(**run.places) for a in run.recipe)],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"exit status {code}: {lines[-1] if lines else 'no output'} (see {log})"
    seconds = time.monotonic() - started
    with write_aside(run.workdir / "study.json") as file:
        json.dump({"recipe": list(run.recipe), "seconds": round(seconds, 1)}, file)
    return ""
