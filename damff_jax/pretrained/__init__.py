"""Weights shipped with the package, each with a model card."""

import os
from pathlib import Path

_FOLDER = Path(__file__).parent
SUFFIX = ".safetensors"
# DAMFF trained on the songs of DEAM.
DEFAULT = _FOLDER / f"damff_plus_deam{SUFFIX}"


def shipped() -> dict[str, Path]:
    """The weights shipped with the package: files by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob(f"*{SUFFIX}"))}


def shipped_name(path: str | os.PathLike) -> str | None:
    """The name of the shipped weights that a path or name refers to, or None."""
    for name, file in shipped().items():
        if file == path or (str(path) == name and not os.path.exists(path)):
            return name
    return None
