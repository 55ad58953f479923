"""The input files of a prediction, and the names of its output files."""

import os
from collections.abc import Sequence
from pathlib import Path

from damff_jax import audio


def find_inputs(inputs: Sequence[str]) -> list[str]:
    """Files as given, and the audio files below folders, sorted."""
    paths: list[str] = []
    for path in inputs:
        paths += audio.find(path) if os.path.isdir(path) else [path]
    return list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]


def output_names(paths: Sequence[str]) -> list[str]:
    """A distinct name per file: its stem or, where stems clash, as much of its path as needed."""
    parts = [(*Path(os.path.abspath(path)).parts[1:-1], Path(path).stem) for path in paths]
    names = [Path(path).stem for path in paths]
    for depth in range(1, max(map(len, parts)) + 2):
        clashing = {name for name in names if names.count(name) > 1}
        if not clashing:
            break
        for i, name in enumerate(names):
            if name in clashing:
                # In the same folder with the same stem: only the extensions differ.
                deep_enough = depth >= len(parts[i])
                tail = parts[i][-depth - 1 :]
                extension = Path(paths[i]).suffix if deep_enough else ""
                names[i] = "__".join(tail) + extension
    return names
