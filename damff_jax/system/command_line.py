"""Command lines whose errors and warnings are one line."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TextIO

import damff_jax
from damff_jax import pretrained
from damff_jax.system import completion
from damff_jax.system.places import local
from damff_jax.system.progress import aside

VERSION = f"damff_jax {damff_jax.__version__}"


class AlreadyReportedError(ValueError):
    """A failure whose reason another process has already printed."""


def program(name: str) -> str:
    """The name a command shows: that of its installed script, if it was started by it."""
    started = Path(sys.argv[0]).name if sys.argv else ""
    return started if started.startswith("damff-") else name


class Parser(argparse.ArgumentParser):
    """An argument parser with --version; a usage error prints one line and exits with status 2.

    Installed commands also have --print_completion, see `completion`.
    """

    def __init__(self, name: str, **more: Any):
        super().__init__(program(name), **more)
        self.add_argument("--version", action="version", version=VERSION)
        if name in completion.COMMANDS:
            self.add_argument(
                "--print_completion",
                action=completion.PrintCompletion,
                command=name,
                choices=completion.SHELLS,
                help="print a script by which the shell completes this command; see docs/README.md",
            )

    def add_checkpoint(self) -> None:
        """Adds --checkpoint, a path or a name that `weights.load` takes."""
        self.add_argument(
            "--checkpoint",
            type=local,
            default=pretrained.DEFAULT,
            metavar="WORKDIR|FILE|NAME",
            help="a training run's workdir, a .safetensors file, or weights shipped with the "
            f"package: {', '.join(pretrained.shipped())}; default: {pretrained.DEFAULT.stem}",
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def printable(text: str) -> str:
    """Text, such as a file name, with invalid bytes and control characters escaped."""
    text = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_warnings(program: str, *categories: type[Warning]) -> None:
    """From now on, shows warnings of these categories as one line each, others as Python does."""

    def show(message: str) -> None:
        with aside():
            print(f"{program}: warning: {printable(message)}", file=sys.stderr)

    show_warnings_by(show, *categories)


def show_warnings_by(show: Callable[[str], None], *categories: type[Warning]) -> None:
    """From now on, `show` gets warnings of these categories; others are shown as Python does."""

    def show_any(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, categories):
            show(str(message))
        else:
            text = warnings.formatwarning(message, category, filename, lineno, line)
            print(text, end="", file=sys.stderr)

    warnings.showwarning = show_any
