"""The input files of a prediction."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from damff_jax import audio
from damff_jax.system.places import local

STANDARD_INPUT = "-"


class Input(NamedTuple):
    """An audio file.

    Attributes:
      path: as given, or below the given folder.
      folder: the given folder below which it was found; empty if the file itself was given.
    """

    path: str
    folder: str = ""


class Found(NamedTuple):
    """What a command line names.

    Attributes:
      files: the audio files, each once.
      left_out: a line for each thing in the given folders that is left out, which names it.
    """

    files: list[Input]
    left_out: list[str]

    @property
    def paths(self) -> list[str]:
        return [file.path for file in self.files]


def find_inputs(inputs: Sequence[str]) -> Found:
    """Files as given, and the audio files below folders, sorted.

    Args:
      inputs: paths, or "-" for a list of paths on standard input, see `listed`.

    Raises:
      PlaceError: one of them is not a local path.
    """
    files: list[Input] = []
    left_out: list[str] = []
    for path in _expanded(inputs):
        if not os.path.isdir(path):
            files.append(Input(path))
            continue
        found, remarks = _find(path)
        files += found
        left_out += remarks
        if not found:
            left_out.append(f"{path}: no audio files in this folder")
    once = {os.path.realpath(file.path): file for file in reversed(files)}
    return Found([*once.values()][::-1], left_out)


def listed(content: bytes) -> list[str]:
    """The paths of a list: separated by NUL if it contains any, as by `find -print0`, or lines."""
    separator = b"\0" if b"\0" in content else b"\n"
    entries = content.split(separator)
    if separator == b"\n":
        entries = [entry.removesuffix(b"\r") for entry in entries]
    return [os.fsdecode(entry) for entry in entries if entry]


def _expanded(inputs: Iterable[str]) -> Iterator[str]:
    for path in inputs:
        if path == STANDARD_INPUT:
            content = sys.stdin.buffer.read() if sys.stdin else b""
            yield from map(local, listed(content))
        else:
            yield local(path)


def _find(folder: str) -> tuple[list[Input], list[str]]:
    """The audio files below a folder, and what the search warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = [Input(path, folder) for path in audio.find(folder)]
    remarks = [str(x.message) for x in caught if issubclass(x.category, audio.AudioWarning)]
    return files, remarks
