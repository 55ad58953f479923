"""Measures speed: `python -m damff_jax.benchmark [--suite=step,lstm,...] [--compare=torch]`.

Prints a table, with a line per case as it is measured: the median of the rounds, their spread
(interquartile range), compile time, clips per second, multiples of the roofline's floor, and ours /
peer (below 1: ours is faster; ± the spread). Exit status: 0 done, 1 failed, 2 wrong usage.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from damff_jax.benchmark import results, table
from damff_jax.benchmark.settings import BenchmarkError, Settings
from damff_jax.system import extras, machine
from damff_jax.system.command_line import Parser, program
from damff_jax.system.places import PlaceError, check_exists, local
from damff_jax.system.terminal import robust

_PROGRAM = program("benchmark")
DEFAULT_SUITES = ("step", "lstm", "input", "features", "predict")
SUITES = (*DEFAULT_SUITES, "deam", "scaling")
DTYPES = ("float32", "bfloat16")


@robust(_PROGRAM, result_is_printed=True)
def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    old = _check(parser, arguments)
    settings = Settings(
        batch_sizes=arguments.batch_sizes,
        dtypes=arguments.dtypes,
        devices=arguments.devices,
        songs=arguments.songs,
        steps=arguments.steps,
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
            # After every case, so that results are not lost if the next one fails.
            if arguments.json:
                results.write(arguments.json, cases)
        if arguments.plot:
            # Imported late, because Matplotlib takes a second.
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
    add("--suite", type=suites, default=DEFAULT_SUITES, help=f"some of {','.join(SUITES)}")
    add("--json", type=local, metavar="FILE", help="write all results")
    add("--compare", choices=["torch"], help="also measure PyTorch")
    add("--batch_sizes", type=_list_of(_positive), default=(4,), metavar="N,...")
    dtypes = _list_of(_one_of(DTYPES))
    add("--dtypes", type=dtypes, default=("float32",), metavar="DTYPE,...")
    counts = _list_of(_positive)
    add("--devices", type=counts, default=(1,), metavar="N,...", help="numbers of devices")
    add("--songs", type=counts, default=(200,), metavar="N,...", help="data sets of suite input")
    add("--steps", type=_positive, default=50, metavar="N", help="of the trainings on them")
    add("--repeats", type=_positive, default=0, metavar="N", help="minimum number of rounds")
    add("--seconds", type=float, default=2.0, help="minimum time per measurement")
    add("--plot", type=local, metavar="FILE.png", help="plot the cases")
    add("--against", type=local, metavar="OLD.json", help="print new / old, for an old --json file")
    return parser


def _check(parser: Parser, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Exits if the command line is invalid on this machine; returns the content of --against."""
    if not 0 <= arguments.seconds < float("inf"):
        parser.error(f"--seconds={arguments.seconds}: not a duration")
    for batch_size in arguments.batch_sizes:
        for n_devices in arguments.devices:
            if batch_size % n_devices:
                parser.error(f"batch size {batch_size} is not a multiple of {n_devices} devices")
    try:
        for path in filter(None, (arguments.json, arguments.plot)):
            check_exists(os.path.dirname(path) or ".", folder=True)
        if arguments.against:
            check_exists(arguments.against)
    except PlaceError as error:
        parser.error(str(error))
    try:
        old = results.read(arguments.against) if arguments.against else None
    except BenchmarkError as error:
        parser.error(f"--against={error}")
    extras.require(_PROGRAM, "benchmark")
    if arguments.compare == "torch" and (message := extras.missing("parity")):
        parser.error(f"--compare=torch {message}")
    # PyTorch and the processes that suites start need some of the GPU's memory too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if (n := max(arguments.devices)) > (n_here := machine.device()["count"]):
        parser.error(f"--devices: {n} requested, but only {n_here} available")
    return old


def run(suites: Sequence[str], settings: Settings) -> Iterator[dict[str, Any]]:
    """Yields the cases of suites as they are measured."""
    import jax
    from absl import logging

    # TFDS would log a message about every data set that it builds.
    logging.set_verbosity(logging.ERROR)
    # Otherwise programs from an earlier run's cache would be read instead of compiled.
    jax.config.update("jax_enable_compilation_cache", False)
    for suite in suites:
        # A suite is imported when it runs, so that no suite loads another one's libraries.
        yield from importlib.import_module(f"damff_jax.benchmark.{suite}").cases(settings)


def _list_of(element: Callable[[str], Any]) -> Callable[[str], tuple]:
    def parse(text: str) -> tuple:
        values = tuple(element(part.strip()) for part in text.split(","))
        return tuple(dict.fromkeys(values))

    return parse


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r}; available: {', '.join(names)}")
        return text

    return parse


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return value


if __name__ == "__main__":
    sys.exit(main())
