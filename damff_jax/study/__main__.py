"""Runs a study and prints its table: `python -m damff_jax.study --config=NAME`.

Completed runs are not repeated and interrupted ones resume, so the command can be stopped and
repeated at any time. A run makes all its choices by its validation songs.
The table shows all completed runs, also those of earlier commands; with --table, only the selected
ones. Exit status: 0 done, 1 some runs failed or cannot be scored (each named), 2 wrong usage.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from damff_jax import configs
from damff_jax.report.pages import study_page
from damff_jax.study import StudyError, table
from damff_jax.study.planning import plan
from damff_jax.study.results import results_of_protocols
from damff_jax.study.runs import StudyRun
from damff_jax.study.scheduler import run_all
from damff_jax.system import extras
from damff_jax.system.command_line import Parser, program
from damff_jax.system.completion import suggest
from damff_jax.system.files import atomic_write
from damff_jax.system.places import PlaceError, check_exists, local
from damff_jax.system.terminal import robust

_PROGRAM = program("study")


@robust(_PROGRAM, result_is_printed=True)
def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs={arguments.jobs}: must be at least 1")
    if arguments.again and arguments.table:
        parser.error("--again and --table exclude each other")
    arguments.config = configs.path_of(arguments.config, "studies")
    extras.require(_PROGRAM, "train")
    try:
        check_exists(arguments.config)
        study = load_study(arguments.config)
        if arguments.reference:
            if arguments.reference not in study["systems"]:
                raise StudyError(f"unknown system {arguments.reference!r} in {arguments.config}")
            study["reference"] = arguments.reference
        plans = plans_of(study, arguments, arguments.systems, arguments.seeds)
        runs = [run for plan in plans.values() for run in plan]
        needs_files = any("{manual_dir}" in a for run in runs for a in run.recipe)
        if needs_files and not arguments.manual_dir and not arguments.table:
            raise StudyError("--manual_dir is required, for the data sets")
        if needs_files and not arguments.table:
            check_exists(arguments.manual_dir, folder=True)
        if arguments.output:
            Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
        failed = 0
        if not arguments.table:
            failed = execute(runs, arguments.jobs, arguments.again)
            plans = plans_of(
                study, arguments, None, sorted({*study["seeds"], *(arguments.seeds or ())})
            )
        results, left_out = results_of_protocols(study, plans)
        for reason in left_out:
            print(f"{_PROGRAM}: not in the table: {reason}", file=sys.stderr)
        if not any(part["systems"] for part in results["protocols"].values()):
            nothing = "no system has completed all folds of a seed"
            if arguments.table:
                raise StudyError(nothing)
            print(f"no table yet: {nothing}")
            return 1 if failed or left_out else 0
    except (StudyError, PlaceError, OSError) as error:
        parser.error(str(error))
    text = table.markdown(results)
    print(f"\n{text}")
    if arguments.output:
        with atomic_write(f"{arguments.output}.md") as file:
            file.write(text + "\n")
        with atomic_write(f"{arguments.output}.json") as file:
            json.dump(results, file, indent=1, allow_nan=False)
        study_page.write(f"{arguments.output}.html", Path(arguments.config).stem, results)
    return 1 if failed or left_out else 0


def _parser() -> Parser:
    parser = Parser("study", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    config = add(
        "--config",
        required=True,
        metavar="NAME",
        help=f"{', '.join(configs.listed('studies'))}, or the path of such a Python file",
    )
    suggest(config, configs.listed("studies"))
    add(
        "--manual_dir",
        type=local,
        default="",
        metavar="DIR",
        help="folder that contains the data sets' folders",
    )
    add("--data_dir", type=local, default="data", metavar="DIR", help="folder of the shards")
    add(
        "--study_dir",
        type=local,
        default="",
        metavar="DIR",
        help="folder of the runs; default: runs/<config name>",
    )
    add("--systems", type=_names, metavar="A,B", help="default: all")
    add("--protocols", type=_names, metavar="A,B", help="default: all")
    add("--folds", type=_numbers, metavar="K,...", help="default: all")
    add("--seeds", type=_numbers, metavar="S,...", help="default: the config's")
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time; they share the cores")
    add(
        "--again",
        action="store_true",
        help="repeat the selected runs, and those they start from, from the beginning",
    )
    add(
        "--reference",
        default="",
        metavar="A",
        help="system that the others are compared with; default: the config's",
    )
    add("--table", action="store_true", help="run nothing, print the table of completed runs")
    add("--output", type=local, default="", metavar="FILE", help="write FILE.md, .json and .html")
    add(
        "--arg", action="append", default=[], metavar="--config.a.b=V", help="argument for train.py"
    )
    return parser


def plans_of(
    study: Mapping[str, Any],
    arguments: argparse.Namespace,
    systems: Sequence[str] | None,
    seeds: Sequence[int] | None,
) -> dict[str, list[StudyRun]]:
    """The runs of every selected protocol.

    Args:
      systems: None for all that have a row in the table.
      seeds: None for the study's.

    Raises:
      StudyError: unknown system, protocol or fold.
    """
    protocols = study["protocols"]
    if unknown := set(arguments.protocols or ()) - protocols.keys():
        raise StudyError(f"unknown protocol {min(unknown)!r}; available: {', '.join(protocols)}")
    if unknown := set(arguments.folds or ()) - {k for ks in protocols.values() for k in ks}:
        raise StudyError(f"unknown fold {min(unknown)} in {arguments.config}")
    with_row = [name for name, x in study["systems"].items() if not x.get("pretraining")]
    plans = {}
    for protocol, folds in protocols.items():
        if arguments.protocols and protocol not in arguments.protocols:
            continue
        plans[protocol] = plan(
            study,
            Path(arguments.study_dir or Path("runs") / Path(arguments.config).stem, protocol),
            systems=[
                name
                for name in systems or with_row
                if protocol in study["systems"].get(name, {}).get("protocols", protocols)
            ],
            folds=[fold for fold in folds if fold in (arguments.folds or folds)],
            seeds=seeds or study["seeds"],
            protocol=protocol,
            manual_dir=arguments.manual_dir,
            data_dir=arguments.data_dir,
            extra=arguments.arg,
        )
    return plans


def load_study(path: str) -> dict[str, Any]:
    """The study that `get_study()` of a Python file returns.

    Raises:
      StudyError: there is no such file or function, or it does not return a study.
    """
    spec = importlib.util.spec_from_file_location("study", path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path}: not a Python file")
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        study = module.get_study()
        if "folds" in study:
            study = {"protocols": {"": study["folds"]}, **study}
        missing = {"protocols", "seeds", "reference", "group", "systems"} - study.keys()
    except Exception as error:  # A config file is a program: it can raise anything.
        raise StudyError(f"{path}: does not define a study ({error!r})") from error
    if missing:
        raise StudyError(f"{path}: the study lacks {min(missing)!r}")
    if study["reference"] not in study["systems"]:
        raise StudyError(f"{path}: the reference is not a system: {study['reference']!r}")
    return study


def execute(runs: Sequence[StudyRun], jobs: int, again: bool) -> int:
    """Executes runs that are not done, with a progress line each; returns how many failed."""
    started, n_failed = time.monotonic(), 0
    for n_done, (run, reason) in enumerate(run_all(runs, jobs=jobs, again=again), start=1):
        n_failed += bool(reason)
        elapsed = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - started))
        print(f"[{n_done}/{len(runs)} {elapsed}] {run}: {reason or 'done'}", flush=True)
    return n_failed


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(text: str) -> list[int]:
    try:
        return [int(x) for x in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of integers") from None


if __name__ == "__main__":
    sys.exit(main())
