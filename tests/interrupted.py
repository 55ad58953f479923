"""Starts train.py repeatedly in one workdir, and interrupts it each time at a given moment.

    python -m tests.interrupted '{"processes": 1, "moments": [...], "arguments": [...]}'

A moment is an object: `signal` is sent to process number `process` (0 by default) when it is `at` a
point of `step`: `preparing`, when it first opens the data set; `step`, when a step's metrics are
available; `best` or `latest`, while that step is being saved, before its digests are written; `best
done` or `latest done`, when it has been renamed; `evaluation`, at the end. With `to_all`, all
processes get the signal; with `error`, that error is raised instead. A moment null lets a start
run to its end. Prints the exit statuses, a list per start, with null for a process that is still
running after `within` seconds (optional). Processes are forked from one that has imported
everything but has not used it.
"""

import json
import os
import signal
import socket
import sys
import time
import warnings

import train
from damff_jax.evaluation import predictions
from damff_jax.run import checkpoint_files, launch, loop  # noqa: F401 - before the fork
from damff_jax.run.train_log import TrainLog
from damff_jax.system import digests
from input_pipeline import datasets


def call_before(owner, name, function):
    """Makes each call of a function call another one first, with the same arguments."""
    original = getattr(owner, name)

    def both(*arguments, **keywords):
        function(*arguments, **keywords)
        return original(*arguments, **keywords)

    setattr(owner, name, both)


def arm(moment):
    """Makes this process send itself the signal at the given moment."""
    place, step = moment["at"], moment.get("step")
    saving = []

    def send():
        if "error" in moment:
            raise OSError(moment["error"])
        if moment.get("to_all"):
            # The parent knows all processes.
            os.kill(os.getppid(), signal.SIGUSR1)
            time.sleep(10)
        for _ in range(moment.get("times", 1)):
            os.kill(os.getpid(), moment["signal"])

    def at_write_step(workdir, name, state, meta):
        saving[:] = [name, meta["step"]]

    def at_digests(folder):
        if [place, step] == saving:
            send()

    def at_sync(folder):
        # The folder of all steps is flushed after the new one has been renamed.
        name = os.path.basename(folder)
        if [place, step] == [f"{name} done", *saving[1:]]:
            send()

    if place == "step":
        call_before(TrainLog, "add", lambda log, n, metrics: send() if n == step else None)
    elif place == "preparing":
        call_before(datasets, "open_configured", lambda config: send())
    elif place == "evaluation":
        call_before(predictions, "write", lambda *arguments: send())
    else:
        call_before(checkpoint_files, "write_step", at_write_step)
        call_before(digests, "write", at_digests)
        call_before(digests, "sync_folder", at_sync)


def start(spec, moment):
    """Forks the processes of a start; returns their exit statuses, -9 for killed ones."""
    deadline = time.monotonic() + spec.get("within", float("inf"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = []
    for number in range(spec["processes"]):
        if process := os.fork():
            processes.append(process)
            continue
        sys.argv = ["train.py", *spec["arguments"]]
        if spec["processes"] > 1:
            sys.argv += ["--multihost", f"--coordinator_address={address}"]
            sys.argv += [f"--num_processes={spec['processes']}", f"--process_id={number}"]
        if moment and moment.get("process", 0) == number:
            arm(moment)
        # Keeps their output apart from the answer.
        os.dup2(2, 1)
        sys.exit(train.main())
    statuses = dict.fromkeys(processes)
    left = set(processes)

    def send_to_left(number):
        for process in left:
            os.kill(process, number)

    if moment and moment.get("to_all"):
        signal.signal(signal.SIGUSR1, lambda number, frame: send_to_left(moment["signal"]))
    while left and time.monotonic() < deadline:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if not ended:
            time.sleep(0.05)
            continue
        left.remove(ended)
        statuses[ended] = os.waitstatus_to_exitcode(status)
        if statuses[ended] == -signal.SIGKILL:
            # As if a machine had failed: the others are killed too.
            send_to_left(signal.SIGKILL)
    # Kills those that hang.
    send_to_left(signal.SIGKILL)
    for process in left:
        os.waitpid(process, 0)
    return list(statuses.values())


if __name__ == "__main__":
    # JAX warns of every fork; these are before it has threads.
    warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
    specification = json.loads(sys.argv[1])
    answers = [start(specification, moment) for moment in specification["moments"]]
    print(json.dumps(answers))
