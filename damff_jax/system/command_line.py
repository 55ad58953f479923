"""Command lines whose errors and warnings are one line."""

import argparse
import os
import sys
import warnings
from typing import NoReturn, TextIO


class AlreadyReportedError(ValueError):
    """A failure whose reason another process has printed."""


class Parser(argparse.ArgumentParser):
    """An argument parser that leaves its usage out of an error; the exit status is 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def printable(text: str) -> str:
    """Text, such as a file's name, without what is no character or would act on a terminal."""
    text = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_warnings(program: str, *categories: type[Warning]) -> None:
    """From now on, shows warnings of these categories as a line each; others as Python does."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, categories):
            print(f"{program}: warning: {printable(str(message))}", file=sys.stderr)
        else:
            text = warnings.formatwarning(message, category, filename, lineno, line)
            print(text, end="", file=sys.stderr)

    warnings.showwarning = show
