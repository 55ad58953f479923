"""Configs of train.py by name: NAME or NAME:MODEL, each a file in this folder.

Importing this does not import any framework.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
# Parts of other configs.
_PARTS = ("__init__", "default", "models")


def path_of(name: str, folder: str = "") -> str:
    """The path of a config, given its name, with its model; any other string is returned unchanged.

    Args:
      folder: a subfolder, such as `studies`.
    """
    stem, colon, model = name.partition(":")
    path = FOLDER / folder / f"{stem}.py"
    if stem.isidentifier() and stem not in _PARTS and path.is_file():
        return f"{path}{colon}{model}"
    # For an installed package, a path configs/NAME.py need not exist in the current folder.
    relative = Path(stem)
    if not relative.exists() and relative.parts[:1] == ("configs",):
        inside = FOLDER.joinpath(*relative.parts[1:])
        if inside.is_file():
            return f"{inside}{colon}{model}"
    return name


def with_path(argument: str) -> str:
    """A command-line argument in which a config's name is replaced by its path."""
    option, equals, value = argument.partition("=")
    if option in ("--config", "-config") and equals:
        return f"--config={path_of(value)}"
    return argument


def listed(folder: str = "") -> dict[str, str]:
    """Every config's name, and the first line of its docstring; see `path_of`."""
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


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their whole names, such as `optim.learning_rate`, instead of in groups."""
    named: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            named |= flat(value, f"{prefix}{name}.")
        else:
            named[prefix + name] = value
    return named
