"""Configs of train.py by name: NAME or NAME:MODEL, each a file of this folder.

Importing this imports no framework.
"""

import ast
from pathlib import Path

FOLDER = Path(__file__).parent
# What other configs are made of.
_PARTS = ("__init__", "default", "models")


def path_of(name: str, folder: str = "") -> str:
    """The path that a config's name means, with its model; anything else is given back as it is.

    Args:
      folder: below this one, such as `studies`.
    """
    stem, colon, model = name.partition(":")
    path = FOLDER / folder / f"{stem}.py"
    if stem.isidentifier() and stem not in _PARTS and path.is_file():
        return f"{path}{colon}{model}"
    # Of an installed package, the folder that the documents name is not in the present one.
    relative = Path(stem)
    if not relative.exists() and relative.parts[:1] == ("configs",):
        inside = FOLDER.joinpath(*relative.parts[1:])
        if inside.is_file():
            return f"{inside}{colon}{model}"
    return name


def with_path(argument: str) -> str:
    """An argument of a command line in which a config's name has become its path."""
    option, equals, value = argument.partition("=")
    if option in ("--config", "-config") and equals:
        return f"--config={path_of(value)}"
    return argument


def listed(folder: str = "") -> dict[str, str]:
    """Every config's name, and the first line of what it says of itself; see `path_of`."""
    paths = sorted(FOLDER.joinpath(folder).glob("*.py"))
    return {
        path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        for path in paths
        if path.stem not in _PARTS
    }


def model_names() -> list[str]:
    """The models that every config can have."""
    from damff_jax.configs import models

    return list(models.MODELS)
