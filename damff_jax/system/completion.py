"""Completion of command lines by bash and zsh: scripts that the library shtab writes."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from damff_jax.system import extras
from damff_jax.system.places import local

SHELLS = ("bash", "zsh")
# Commands that are installed as scripts, damff-NAME.
COMMANDS = ("predict", "prepare", "train", "study", "benchmark", "weights", "export")


class PrintCompletion(argparse.Action):
    """Prints the completion script of a parser for the named shell, and exits.

    Args:
      command: its name among `COMMANDS`.
    """

    def __init__(self, *more: Any, command: str, **keywords: Any):
        super().__init__(*more, **keywords)
        self._command = command

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if message := extras.missing("completion"):
            parser.error(f"{option_string} {message}")
        print(script(parser, self._command, str(values)))
        parser.exit()


def suggest(action: argparse.Action, words: Iterable[str]) -> None:
    """Completes an option by these words, although it also accepts others."""
    action.suggested = tuple(words)  # type: ignore[attr-defined]


def script(parser: argparse.ArgumentParser, command: str, shell: str) -> str:
    """The completion script of a command; the parser cannot be used after that."""
    import shtab

    for action in parser._actions:
        if suggested := getattr(action, "suggested", None):
            action.choices = suggested
        elif action.type is local and action.choices is None:
            folder = action.metavar == "DIR"
            action.complete = shtab.DIRECTORY if folder else shtab.FILE  # type: ignore[attr-defined]
    parser.prog = f"damff-{command}"
    return shtab.complete(parser, shell)
