"""What can be set of every data set: its options, and how its songs are split.

Command lines are checked by this, so it imports neither TensorFlow nor JAX.
"""

import ast
import dataclasses
import importlib
from pathlib import Path
from typing import Any

from input_pipeline.corpus import CorpusError, Options
from input_pipeline.splits import Split

NAMES = ("synthetic", "deam", "mer1101", "vgmidi", "emopia", "folder")


def listed() -> dict[str, str]:
    """Every data set's name, and the first line of what its builder says of itself."""
    folder = Path(__file__).parent
    paths = {name: folder / name / f"{name}_dataset_builder.py" for name in NAMES}
    return {
        name: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        for name, path in paths.items()
    }


def classes(name: str) -> tuple[type[Options], type[Split]]:
    """What holds a data set's options, and what says how its songs are split.

    Raises:
      CorpusError: there is no data set of that name.
    """
    if name not in NAMES:
        raise CorpusError(f"no data set {name!r}; there are {', '.join(NAMES)}")
    module = importlib.import_module(f"input_pipeline.{name}.settings")
    return module.OPTIONS, module.SPLIT


def make_settings(name: str, values: dict[str, Any]) -> tuple[Options, Split]:
    """A data set's options and how its songs are split, from plain values of both.

    Raises:
      CorpusError: a setting does not exist, has the wrong type, or makes no sense.
    """
    parts = classes(name)
    known = [field.name for part in parts for field in dataclasses.fields(part)]
    for key in values:
        if key not in known:
            raise CorpusError(
                f"data set {name} has no option {key!r}; there are {', '.join(known) or 'none'}"
            )

    def made(part: type) -> Any:
        kept = {}
        for field in dataclasses.fields(part):
            if field.name not in values:
                continue
            value, wanted = values[field.name], field.type
            fits = isinstance(value, (int, float) if wanted is float else wanted)
            if not fits or (isinstance(value, bool) and wanted is not bool):
                raise CorpusError(
                    f"option {field.name} of data set {name}: {value!r} is no {wanted.__name__}"
                )
            # Converted, because 1 and 1.0 would name two versions of the data set.
            kept[field.name] = wanted(value)
        return part(**kept)

    options, split = map(made, parts)
    return options, split
