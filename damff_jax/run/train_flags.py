"""The command line of train.py, checked before JAX and TensorFlow are imported."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags

from damff_jax import configs
from damff_jax.pretrained import shipped_name
from damff_jax.system import extras
from damff_jax.system.command_line import VERSION, Parser, program
from damff_jax.system.completion import suggest
from damff_jax.system.places import check_exists, check_local, check_room, check_unicode, local

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_PROGRAM = program("train.py")

# Settings of the config's group `data` that are paths.
_PLACES = ("data_dir", "manual_dir", "heard", "teacher")
MODES = ("train", "evaluate")
_OF_PROCESSES = ("coordinator_address", "num_processes", "process_id")


class Arguments(NamedTuple):
    """A parsed command line.

    Attributes:
      multihost: how processes find each other, see `processes.initialize`; None for a single one.
    """

    config: "ConfigDict"
    workdir: Path
    mode: str
    multihost: dict[str, Any] | None


def parse(argv: Sequence[str], description: str) -> Arguments:
    """Reads a command line; an error in it or in the config file is printed as one line, and ends
    the program with status 2.
    """
    argv = [argv[0], *map(configs.with_path, _joined(argv[1:]))]
    if "--version" in argv:
        print(VERSION)
        sys.exit(0)
    extras.require(_PROGRAM, "train")
    if any(argument.startswith("--print_completion") for argument in argv):
        _completed().parse_args(argv[1:])
    if {"--help", "-h", "-help"} & set(argv):
        print(f"{description}\n{_help()}")
        sys.exit(0)
    values = flags.FlagValues()
    try:
        for argument in argv[1:]:
            option, _, config = argument.partition("=")
            if option == "--config":
                check_exists(local(config).partition(":")[0])
        _define(values, argv)
        rest = values(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected argument {rest[1]!r}")
        # A file that cannot be loaded is noticed only at its first use.
        _ = values.config.batch_size
        check_local(
            workdir=values.workdir,
            **{f"config.data.{name}": values.config.data[name] for name in _PLACES},
            **{"config.init_from": values.config.init_from},
        )
        check_unicode(**{"config.data.data_dir": values.config.data.data_dir})
        if values.workdir:
            check_room(values.workdir)
        if not values.multihost:  # Otherwise all processes must agree that something is missing.
            _check_exist(values)
        multihost = {name: values[name].value for name in _OF_PROCESSES}
        if not values.multihost and set(multihost.values()) != {None}:
            raise ValueError("options of other processes need --multihost")
    except Exception as error:  # A config file is a program: it can raise anything.
        print(f"{_PROGRAM}: error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    if values.multihost and os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
        # JAX would report the loss of another process in many lines, beside our own. The level can
        # be set only before it is loaded; 1 is what it sets, also for the processes that it starts.
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "4"
    named = getattr(values["config"], "config_filename")  # noqa: B009 - not a flag, so not typed.
    workdir = Path(values.workdir or default_workdir(named))
    return Arguments(values.config, workdir, values.mode, multihost if values.multihost else None)


def _joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--config NAME`, as a shell completes it, made one of them."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--config":
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _completed() -> Parser:
    """A parser of the same options, by which the shell completes them."""
    from damff_jax.configs import default

    parser = Parser("train", description=None)
    suggest(parser.add_argument("--config", help="NAME or NAME:MODEL"), configs.listed())
    parser.add_argument("--workdir", type=local, metavar="DIR", help="folder of the run")
    parser.add_argument("--mode", choices=MODES, help="evaluate skips the training")
    parser.add_argument("--multihost", action="store_true", help="train with other processes")
    for name in _OF_PROCESSES:
        parser.add_argument(f"--{name}")
    for name in sorted(_settings(default.get_config())):
        parser.add_argument(f"--config.{name}", help="a setting of the config")
    return parser


def _settings(config: "ConfigDict") -> Iterator[str]:
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from (f"{name}.{inner}" for inner in _settings(value))
        else:
            yield name


def default_workdir(config: str) -> Path:
    """runs/vgmidi for configs/vgmidi.py, and runs/vgmidi-ridge for configs/vgmidi.py:ridge."""
    path, _, model = config.partition(":")
    return Path("runs") / "-".join(filter(None, [Path(path).stem, model]))


def _check_exist(values: flags.FlagValues) -> None:
    """Checks that what a run reads exists.

    Raises:
      PlaceError: it does not.
    """
    data = values.config.data
    for path, folder in ((data.manual_dir, True), (data.heard, False), (data.teacher, False)):
        if path:
            check_exists(path, folder=folder)
    start, workdir = values.config.init_from, Path(values.workdir or "")
    if values.mode == "evaluate" and values.workdir:
        check_exists(workdir, folder=True)
    # A run that resumes does not need what it started from.
    if start and shipped_name(start) is None and not (workdir / "checkpoints").exists():
        check_exists(start)


def _define(values: flags.FlagValues, argv: Sequence[str]) -> None:
    from ml_collections import config_flags

    default = configs.path_of("synthetic")
    config_flags.DEFINE_config_file("config", default, flag_values=values, sys_argv=[*argv])
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_bool("multihost", False, "train together with other processes", flag_values=values)
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "of all hosts", flag_values=values)
    flags.DEFINE_integer("process_id", None, "from 0", flag_values=values)
    flags.DEFINE_enum(
        "mode", "train", list(MODES), "evaluate skips the training", flag_values=values
    )


def _help() -> str:
    listed = "\n".join(f"    {name:<18} {text}" for name, text in configs.listed().items())
    return f"""
options:
  --config=NAME[:MODEL]      a config below, or the path of a Python file (default: synthetic)
  --config.a.b=V             change a setting of the config
  --workdir=DIR              folder of the run (default: runs/NAME[-MODEL])
  --mode=train|evaluate      evaluate skips the training
  --multihost                train together with other processes; where JAX does not find them:
    --coordinator_address=HOST:PORT --num_processes=N --process_id=I
  --help, --version, --print_completion=bash|zsh

configs, in {configs.FOLDER}:
{listed}

models: {", ".join(configs.model_names())}

All settings and their defaults are in default.py of that folder, the models' in models.py;
the options of a data set: python -m input_pipeline.prepare --dataset=NAME --help
"""


def _one_line(error: Exception) -> str:
    message = str(error)
    if error.args and isinstance(error.args[0], KeyError):
        error = error.args[0]  # ml_collections wraps it.
    if isinstance(error, KeyError):
        message = f"unknown config setting: {error.args[0]}"
    elif "failed loading" in message.lower() or "whilst parsing config file" in message:
        message = f"the config file cannot be loaded: {message.splitlines()[-1].strip()}"
    return " ".join(message.split())
