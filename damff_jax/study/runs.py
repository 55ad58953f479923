"""The runs of a study: a system on a fold with a seed, each a program in a process of its own.

    <study_dir>/[<protocol>/]<system>/fold<k>_seed<s>/    the run's workdir, and in it
        study.json                           its recipe, when it was done and how long it took;
                                             of a run that was broken off, its last start
        log.txt                              what it printed, in all its starts

A run that is done is not run again; one that was broken off goes on from its checkpoint.
"""

import concurrent.futures
import dataclasses
import fcntl
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

from damff_jax import configs
from damff_jax.study import StudyError
from damff_jax.system.files import write_aside
from damff_jax.system.subprocesses import environment

PREDICTIONS = "predictions_test.csv"


@dataclasses.dataclass(frozen=True)
class Run:
    """A system on a fold with a seed.

    Attributes:
      recipe: arguments after the Python interpreter's name, in which {workdir}, {init_from},
        {manual_dir} and {data_dir} stand for the places that `places` says. What a run is does not
        depend on those. A first argument train.py means the package's, wherever that is installed.
      after: runs that must be done before this one.
      predicts: whether it must leave predictions of test songs.
      protocol: which of the study's it is of; empty if it has but one.
    """

    system: str
    fold: int
    seed: int
    workdir: Path
    recipe: tuple[str, ...]
    places: Mapping[str, Any]
    after: tuple["Run", ...] = ()
    predicts: bool = True
    protocol: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, [self.protocol, self.system, self.workdir.name]))

    def is_done(self) -> bool:
        """Whether the run's outcome is there.

        Raises:
          StudyError: what is there was made by another command, by other settings of the config
            files, or from a run that has been made again since.
        """
        record = self.record()
        changed = self._changed_settings()
        if record is not None and record["recipe"] != list(self.recipe):
            differing = set(map(str, record["recipe"])) ^ set(self.recipe)
            changed = sorted(differing) or ["in another order"]
        if changed:
            raise StudyError(
                f"{self.workdir} was made by another recipe ({', '.join(changed)}); "
                "run it --again or take another --study_dir"
            )
        if record is None or (self.predicts and not (self.workdir / PREDICTIONS).is_file()):
            return False
        for run in self.after:
            before = run.record()
            if before is not None and before["ended"] > record["ended"]:
                raise StudyError(
                    f"{self.workdir} was made before {run}, which it starts from, was made again; "
                    "run it --again too"
                )
        return True

    def _changed_settings(self) -> list[str]:
        """What train.py left of its config, where the config files say something else by now."""
        path = self.workdir / "config.json"
        if self.recipe[0] != "train.py" or not path.exists():
            return []
        try:
            then = _flat(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise StudyError(f"{path}: not the config of a run ({error!r})") from error
        now = settings(self.recipe)
        # A setting that came later has left no trace; it is there to be off.
        return [
            f"{name}={then[name]!r}, now {now[name]!r}"
            for name in sorted(then.keys() & now.keys())
            if then[name] != now[name]
        ]

    def record(self) -> dict[str, Any] | None:
        """What study.json says: `recipe`, `seconds`, and when the run `ended` (s since 1970, 0 if
        it does not say); None before the run is done.

        Raises:
          StudyError: it says something else.
        """
        path = self.workdir / "study.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return {
                "recipe": list(record["recipe"]),
                "seconds": float(record["seconds"]),
                "ended": float(record.get("ended", 0)),
            }
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StudyError(f"{path}: not the record of a run ({error!r})") from error

    def command(self) -> list[str]:
        """The recipe with the places filled in."""
        command = list(self.recipe)
        if command[0] == "train.py":
            command[:1] = ["-m", "damff_jax.train"]
        for name, place in self.places.items():
            command = [argument.replace(f"{{{name}}}", str(place)) for argument in command]
        return [sys.executable, *command]


def settings(recipe: Sequence[str]) -> dict[str, Any]:
    """The settings, by their dotted names, that arguments of train.py mean; without the places.

    Raises:
      StudyError: they mean none.
    """
    from absl import flags
    from ml_collections import config_flags

    argv = [configs.with_path(argument) for argument in recipe if argument.startswith("--config")]
    places = {argument.partition("=")[0] for argument in argv if "{" in argument}
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["train.py", *argv])
    try:
        values(["train.py", *argv])
        config = _flat(json.loads(values.config.to_json()))
    except Exception as error:  # A config file is a program: it can raise anything.
        raise StudyError(f"{' '.join(argv)}: no config ({error!r})") from error
    return {name: value for name, value in config.items() if f"--config.{name}" not in places}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def plan(
    study: Mapping[str, Any],
    study_dir: Path,
    *,
    systems: Sequence[str],
    folds: Sequence[int],
    seeds: Sequence[int],
    protocol: str = "",
    manual_dir: str = "",
    data_dir: str = "data",
    extra: Sequence[str] = (),
) -> list[Run]:
    """The runs of some of a study's systems, pretraining included, in an order to run them.

    Args:
      study: see `configs/studies/vgmidi.py` for what stands in it.
      extra: arguments added to every command of `train.py`.

    Raises:
      StudyError: the study has no such system, or systems start from one another.
    """
    runs: dict[Path, Run] = {}

    def add(name: str, fold: int, seed: int, *followers: str) -> Run:
        if name in followers:
            raise StudyError(f"systems that start from one another: {', '.join(followers)}")
        if name not in study["systems"]:
            raise StudyError(f"no system {name!r}; there are {', '.join(study['systems'])}")
        system = study["systems"][name]
        # What a system starts from has seen no song of any fold, so all folds share it.
        pretraining = bool(system.get("pretraining"))
        stem = f"seed{seed}" if pretraining else f"fold{fold}_seed{seed}"
        if pretraining and any("{fold}" in argument for argument in system["command"]):
            raise StudyError(f"pretraining {name!r} has {{fold}} in its command, but one for all")
        workdir = study_dir / name / stem
        if workdir in runs:
            return runs[workdir]
        places = {"workdir": workdir, "manual_dir": manual_dir, "data_dir": data_dir}
        after: tuple[Run, ...] = ()
        if system.get("init_from"):
            after = (add(system["init_from"], fold, seed, *followers, name),)
            places["init_from"] = after[0].workdir
        recipe = [
            argument.replace("{fold}", str(fold))
            .replace("{seed}", str(seed))
            .replace("{protocol}", protocol)
            for argument in system["command"]
        ]
        if recipe[0] == "train.py":
            recipe += extra
        run = Run(
            name, fold, seed, workdir, tuple(recipe), places, after, not pretraining, protocol
        )
        return runs.setdefault(workdir, run)

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
      runs: those that others come after stand before them.
      jobs: runs at a time; the processor's cores are shared out among them, because small models
        gain more from a core each than from cores in common.
      again: runs also what is done, from the start.

    Raises:
      StudyError: one is done by another recipe, or waits for what is not among them; then none is
        run.
    """
    known: set[Path] = set()
    done: set[Path] = set()
    for run in runs:
        if not again and run.is_done():
            done.add(run.workdir)
        if lacking := [r for r in run.after if r.workdir not in known and not r.is_done()]:
            raise StudyError(f"{run} waits for {lacking[0]}, which does not run before it")
        known.add(run.workdir)
    done |= {r.workdir for run in runs for r in run.after if r.workdir not in known}
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares: queue.SimpleQueue = queue.SimpleQueue()
    for job in range(jobs):
        shares.put(cores[job::jobs] or cores)

    def execute(run: Run) -> str:
        share = shares.get()
        try:
            if share:
                os.sched_setaffinity(0, share)  # Of this thread; its child inherits it.
            return _execute(run, again=again, n_jobs=jobs)
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
                    elif len(running) < jobs and all(r.workdir in done for r in run.after):
                        waiting.remove(run)
                        if run.workdir in done:
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
                    reason = future.result()
                    if reason:
                        failed[run.workdir] = reason
                    else:
                        done.add(run.workdir)
                    yield run, reason
        finally:
            for future in running:
                future.cancel()


def _execute(run: Run, *, again: bool, n_jobs: int) -> str:
    try:
        return _execute_alone(run, again=again, n_jobs=n_jobs)
    except OSError as error:
        return str(error)


def _execute_alone(run: Run, *, again: bool, n_jobs: int) -> str:
    run.workdir.mkdir(parents=True, exist_ok=True)
    with open(run.workdir / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"another process is at it ({run.workdir}/lock)"
        if again:
            # First, so that what is left of the rest is not taken for a run that is done.
            (run.workdir / "study.json").unlink(missing_ok=True)
            for path in run.workdir.iterdir():
                if path.name != "lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        # The program holds the lock too, so that it is not started twice when it outlives us.
        return _execute_locked(run, lock.fileno(), n_jobs)


def _execute_locked(run: Run, lock: int, n_jobs: int) -> str:
    log = run.workdir / "log.txt"
    variables = environment()
    if n_jobs > 1:
        # Else the first takes nearly all memory of the accelerator that they share.
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
    with write_aside(run.workdir / "study.json") as file:
        record = {"recipe": list(run.recipe), "seconds": round(seconds, 1), "ended": time.time()}
        json.dump(record, file)
    return ""
