"""The settings of every data set: its options, and how its songs are split.

Command lines are checked with this, so it imports neither TensorFlow nor JAX.
"""

import ast
import dataclasses
import importlib
import typing
from typing import Any

from input_pipeline import registry
from input_pipeline.corpus import CorpusError, Options
from input_pipeline.splits import Split


def listed() -> dict[str, str]:
    """The data sets of this package by name, and the first line of each one's docstring."""
    return {
        name: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        for name, path in registry.FILES.items()
    }


def classes(name: str) -> tuple[type[Options], type[Split]]:
    """The classes of a data set's options and split.

    Raises:
      CorpusError: there is no such data set.
    """
    file = registry.FILES.get(name)
    if file and file.with_name("settings.py").is_file() and file.parent.name == name:
        module = importlib.import_module(f"input_pipeline.{name}.settings")
        return module.OPTIONS, module.SPLIT
    cls = registry.builder_class(name)
    return cls.OPTIONS, cls.SPLIT


def types_of(cls: type) -> dict[str, type]:
    """The types of a dataclass's fields by name, even if annotated as strings."""
    types = typing.get_type_hints(cls)
    return {field.name: types[field.name] for field in dataclasses.fields(cls)}


def make_settings(name: str, values: dict[str, Any]) -> tuple[Options, Split]:
    """A data set's options and split, from plain values of both.

    Raises:
      CorpusError: a setting does not exist, has the wrong type, or is out of range.
    """
    parts = classes(name)
    known = [field.name for part in parts for field in dataclasses.fields(part)]
    for key in values:
        if key not in known:
            raise CorpusError(
                f"data set {name} has no option {key!r}; available: {', '.join(known) or 'none'}"
            )

    def made(part: type) -> Any:
        kept = {}
        for key, wanted in types_of(part).items():
            if key not in values:
                continue
            value = values[key]
            fits = isinstance(value, (int, float) if wanted is float else wanted)
            if not fits or (isinstance(value, bool) and wanted is not bool):
                raise CorpusError(
                    f"option {key} of data set {name}: {value!r} is not of type {wanted.__name__}"
                )
            # Converted, because 1 and 1.0 would be two versions of the data set.
            kept[key] = wanted(value)
        return part(**kept)

    options, split = map(made, parts)
    return options, split
