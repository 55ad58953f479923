"""Starts train.py again and again in one workdir, each time broken off at a given moment.

    python -m tests.broken_off '{"processes": 1, "moments": [...], "arguments": [...]}'

Of a moment, `signal` is sent `at` a place of `step` in process number `process` (0 if not given):
`step`, when a step's metrics are there; `best` or `latest`, while that step is being saved, before
its digests are written; `best done` or `latest done`, once it has its name; `evaluation`, at the
end. null lets a start go to its end. Prints the exit statuses, a list per start. Processes are
forked from one that has imported everything, and has not used it.
"""

import json
import os
import signal
import socket
import sys
import warnings

from absl import app

import train
from damff_jax import checkpoint, digests, evaluation
from damff_jax.train_log import TrainLog


def call_before(owner, name, function):
    """Has a function called, with the same arguments, before each call of another one."""
    original = getattr(owner, name)

    def both(*arguments, **keywords):
        function(*arguments, **keywords)
        return original(*arguments, **keywords)

    setattr(owner, name, both)


def arm(moment):
    """Has this process send itself the signal when the moment has come."""
    place, step = moment["at"], moment.get("step")
    saving = []

    def send():
        for _ in range(moment.get("times", 1)):
            os.kill(os.getpid(), moment["signal"])

    def at_write_step(workdir, name, state, meta):
        saving[:] = [name, meta["step"]]

    def at_digests(folder):
        if [place, step] == saving:
            send()

    def at_sync(folder):
        # The folder of all steps is put on the disk once the new one has its name.
        name = os.path.basename(folder)
        if [place, step] == [f"{name} done", *saving[1:]]:
            send()

    if place == "step":
        call_before(TrainLog, "add", lambda log, n, metrics: send() if n == step else None)
    elif place == "evaluation":
        call_before(evaluation, "write_predictions", lambda *arguments: send())
    else:
        call_before(checkpoint, "_write_step", at_write_step)
        call_before(digests, "write", at_digests)
        call_before(digests, "sync_folder", at_sync)


def start(spec, moment):
    """Forks the processes of a start; gives their exit statuses, -9 for killed ones."""
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
        # Not to be mixed with the answer.
        os.dup2(2, 1)
        app.run(train.main, flags_parser=train.parse_flags)
    statuses = dict.fromkeys(processes)
    for _ in processes:
        ended, status = os.wait()
        statuses[ended] = os.waitstatus_to_exitcode(status)
        if statuses[ended] == -signal.SIGKILL:
            # A machine has gone down: nobody waits for what is left.
            for other in processes:
                if statuses[other] is None:
                    os.kill(other, signal.SIGKILL)
    return list(statuses.values())


if __name__ == "__main__":
    # JAX warns of every fork; these come before it has threads.
    warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
    specification = json.loads(sys.argv[1])
    answers = [start(specification, moment) for moment in specification["moments"]]
    print(json.dumps(answers))
