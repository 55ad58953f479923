"""Measures speed: `python -m damff_jax.benchmark [--suite=step,lstm,...] [--compare=torch]`.

Prints a table, a line per case as it is measured: the median of the rounds, their spread (distance
between the quartiles), compile time, clips per second, how many times the roofline's floor, and
ours / peer (below 1: ours is faster; ± the spread). Exit status: 0 done, 1 failed, 2 usage.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from damff_jax.benchmark import results, table
from damff_jax.benchmark.settings import BenchmarkError, Settings
from damff_jax.system import extras
from damff_jax.system.command_line import Parser, program

_PROGRAM = program("benchmark")
DEFAULT_SUITES = ("step", "lstm", "input", "features", "predict")
SUITES = (*DEFAULT_SUITES, "deam")
DTYPES = ("float32", "bfloat16")


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    old = _check(parser, arguments)
    settings = Settings(
        batch_sizes=arguments.batch_sizes,
        dtypes=arguments.dtypes,
        devices=arguments.devices,
        compare_torch=arguments.compare == "torch",
        rounds=arguments.repeats,
        seconds=arguments.seconds,
    )
    cases = []
    try:
        print(results.title())
        print(table.HEADER, flush=True)
        for case in run(arguments.suite, settings):
            cases.append(case)
            print(table.row(case), flush=True)
            # After every case, so that what was measured outlives a failure of the next.
            if arguments.json:
                results.write(arguments.json, cases)
        if arguments.plot:
            # Matplotlib takes a second to import.
            from damff_jax.benchmark.plot import plot

            plot(arguments.plot, results.title(), cases)
    except (BenchmarkError, OSError) as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    if old:
        print(f"\nagainst {arguments.against}\n{table.compare(old, results.document(cases))}")
    return 0


def _parser() -> Parser:
    parser = Parser("benchmark", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    suites = _list_of(_one_of(SUITES))
    add("--suite", type=suites, default=DEFAULT_SUITES, help=f"of {','.join(SUITES)}")
    add("--json", metavar="FILE", help="write all that was measured")
    add("--compare", choices=["torch"], help="measure PyTorch beside ours")
    add("--batch_sizes", type=_list_of(_positive), default=(4,), metavar="N,...")
    dtypes = _list_of(_one_of(DTYPES))
    add("--dtypes", type=dtypes, default=("float32",), metavar="DTYPE,...")
    counts = _list_of(_positive)
    add("--devices", type=counts, default=(1,), metavar="N,...", help="how many")
    add("--repeats", type=_positive, default=0, metavar="N", help="rounds at least")
    add("--seconds", type=float, default=2.0, help="a measurement lasts, at least")
    add("--plot", metavar="FILE.png", help="draw the cases")
    add("--against", metavar="OLD.json", help="print new / old of an old --json")
    return parser


def _check(parser: Parser, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Ends the program if a command line makes no sense here; gives what --against names."""
    if not 0 <= arguments.seconds < float("inf"):
        parser.error(f"--seconds={arguments.seconds}: not a time")
    for path in filter(None, (arguments.json, arguments.plot)):
        if not os.path.isdir(os.path.dirname(path) or "."):
            parser.error(f"{path}: no such folder")
    for batch_size in arguments.batch_sizes:
        for n_devices in arguments.devices:
            if batch_size % n_devices:
                parser.error(f"batch size {batch_size} is no multiple of {n_devices} devices")
    try:
        old = results.read(arguments.against) if arguments.against else None
    except BenchmarkError as error:
        parser.error(f"--against={error}")
    extras.require(_PROGRAM, "benchmark")
    if arguments.compare == "torch" and (message := extras.missing("parity")):
        parser.error(f"--compare=torch {message}")
    # The processes that suites start, and PyTorch, need some of the GPU's memory too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if (n := max(arguments.devices)) > (n_here := results.device()["count"]):
        parser.error(f"--devices: {n} asked for, and {n_here} here")
    return old


def run(suites: Sequence[str], settings: Settings) -> Iterator[dict[str, Any]]:
    """The cases of suites, as they are measured."""
    import jax
    from absl import logging

    # TFDS remarks on every data set that it builds.
    logging.set_verbosity(logging.ERROR)
    # A cache that an earlier run has filled would be read in place of compiling.
    jax.config.update("jax_enable_compilation_cache", False)
    for suite in suites:
        # A suite is imported when it runs, so that none waits for another's libraries.
        yield from importlib.import_module(f"damff_jax.benchmark.{suite}").cases(settings)


def _list_of(element: Callable[[str], Any]) -> Callable[[str], tuple]:
    def parse(text: str) -> tuple:
        values = tuple(element(part.strip()) for part in text.split(","))
        return tuple(dict.fromkeys(values))

    return parse


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r}; there are {', '.join(names)}")
        return text

    return parse


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return value


if __name__ == "__main__":
    sys.exit(main())
