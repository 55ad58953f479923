"""The fault campaign: does damage ever silently give a wrong result?

    python -m tests.campaign --audio=N --labels=N --midi=N --checkpoints=N --shards=N --kills=N

makes small inputs of every kind, damages them at random, N times each, and reports how the program
reacts. Every trial is a function of the seed, its kind and its number.

    refused   an error of the program's own type, in one line
    handled   the right result, or one with a warning
    silent    a wrong result without a warning
    crashed   the process died, an error of another type, or unbounded memory
    hung      no end within the time limit

The file of a kind in `tests/faults` defines what this means for it. Prints a table, and as the last
line a JSON object with the same numbers. Exit status: 0 nothing was silent, crashed or hung, 1
something was, 2 wrong usage.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

# Default number of trials, and the time limit of one in seconds.
KINDS = {
    "audio": (300, 20.0),
    "labels": (300, 20.0),
    "midi": (100, 60.0),
    "checkpoints": (0, 120.0),
    "shards": (40, 60.0),
    "kills": (0, 1200.0),
}


def main(argv: Sequence[str] | None = None) -> int:
    from tests.faults.workers import GOOD, OUTCOMES, run_trials

    parser = argparse.ArgumentParser("campaign", description=__doc__.split("\n\n")[0])
    for kind, (default, _) in KINDS.items():
        parser.add_argument(f"--{kind}", type=int, default=default, help=f"trials ({default})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    arguments = parser.parse_args(argv)
    numbers = [getattr(arguments, name) for name in (*KINDS, "seed", "workers")]
    if min(numbers) < 0 or not arguments.workers:
        parser.error("numbers must not be negative, and there must be a worker")

    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[1]))
    table, good = {}, True
    with tempfile.TemporaryDirectory(prefix="campaign_") as folder:
        for kind, (_, limit) in KINDS.items():
            n, started = getattr(arguments, kind), time.monotonic()
            counts, bad = {}, []
            if n:
                inputs = Path(folder) / kind / "inputs"
                inputs.mkdir(parents=True)
                _in_a_process(_make_inputs, kind, inputs, arguments.seed)
                counts, bad = run_trials(
                    kind,
                    n,
                    folder=inputs,
                    seed=arguments.seed,
                    workers=1 if kind == "kills" else arguments.workers,
                    limit=limit,
                )
            for line in bad:
                print(line, flush=True)
            if n:
                print(f"{kind}: {n} trials in {time.monotonic() - started:.0f} s", flush=True)
            good = good and not bad
            table[kind] = {"tried": n} | {outcome: counts.get(outcome, 0) for outcome in OUTCOMES}
    assert good == all(row["tried"] == sum(row[x] for x in GOOD) for row in table.values())
    columns = ("tried", *OUTCOMES)
    print(f"{'':<12}" + "".join(f"{name:>9}" for name in columns))
    for kind, row in table.items():
        print(f"{kind:<12}" + "".join(f"{row[name]:>9}" for name in columns))
    print(json.dumps(table))
    return 0 if good else 1


def _make_inputs(kind: str, folder: Path, seed: int) -> None:
    importlib.import_module(f"tests.faults.{kind}").make_inputs(folder, seed)


def _in_a_process(function, *arguments) -> None:
    """Calls a function in another process, so that this one stays small and has no threads."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the inputs of {arguments[0]} cannot be made")


if __name__ == "__main__":
    sys.exit(main())
