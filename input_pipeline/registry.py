"""Finds data sets: in this package, in an installed plug-in, or in a Python file.

A data set is a class `Builder`, a subclass of `base.SongBuilder`. Those of this package are in
files named NAME_dataset_builder.py, in a folder NAME or next to this file. A plug-in names its
class in the entry point group `damff_jax.datasets`; a single file needs no packaging.

Importing this does not import any framework.
"""

import functools
import hashlib
import importlib.util
import inspect
import os
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from input_pipeline.corpus import CorpusError

if TYPE_CHECKING:
    from input_pipeline.base import SongBuilder

ENTRY_POINTS = "damff_jax.datasets"
_FOLDER = Path(__file__).resolve().parent
_SUFFIX = "_dataset_builder"
# The files of this package's builders, by the data set's name.
FILES = {
    path.stem.removesuffix(_SUFFIX): path
    for pattern in (f"*{_SUFFIX}.py", f"*/*{_SUFFIX}.py")
    for path in sorted(_FOLDER.glob(pattern))
}
NAMES = tuple(sorted(FILES))


def builder_class(name: str) -> type["SongBuilder"]:
    """The builder of a data set.

    Args:
      name: of a data set in this package or in a plug-in, or the path of a file ending in `.py`.

    Raises:
      CorpusError: there is no such data set, or it cannot be used.
    """
    if name in FILES:
        parts = FILES[name].relative_to(_FOLDER.parent).with_suffix("").parts
        return importlib.import_module(".".join(parts)).Builder
    if name.endswith(".py"):
        return _from_file(os.path.realpath(os.path.expanduser(name)))
    return _from_entry_point(name)


# Cached, because loading the file again would create another class.
@functools.cache
def _from_file(path: str) -> type["SongBuilder"]:
    from tensorflow_datasets.core import registered

    if not os.path.isfile(path):
        raise CorpusError(f"{path}: no such file, so there is no data set")
    # TFDS derives a builder's name from the module's, unless the class sets its own.
    name = Path(path).stem.removesuffix(_SUFFIX) + _SUFFIX
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CorpusError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look up their module there.
    try:
        # TFDS allows each name only once, but files in two folders may have the same name.
        with registered.skip_registration():
            spec.loader.exec_module(module)
    except Exception as error:  # A data set is a program: it can raise anything.
        del sys.modules[name]
        raise _not_loaded(path, error) from error
    return _checked(module, path)


def _from_entry_point(name: str) -> type["SongBuilder"]:
    found = metadata.entry_points(group=ENTRY_POINTS)
    places = {point.value: point for point in found if point.name == name}
    if not places:
        known = ", ".join((*NAMES, *sorted({point.name for point in found} - set(NAMES))))
        raise CorpusError(
            f"unknown data set {name!r}; available: {known}, and files that end in .py"
        )
    if len(places) > 1:
        raise CorpusError(f"several plug-ins have a data set {name!r}: {', '.join(places)}")
    (point,) = places.values()
    from tensorflow_datasets.core import registered

    try:
        with registered.skip_registration():
            loaded = point.load()
    except Exception as error:
        raise _not_loaded(f"{name}: plug-in {point.value}", error) from error
    cls = _checked(loaded, f"{name}: plug-in {point.value}")
    if cls.name != name:
        raise CorpusError(f"{name}: plug-in {point.value} names itself {cls.name!r}")
    return cls


def _checked(loaded: ModuleType | type, place: str) -> type["SongBuilder"]:
    """The builder of a plug-in, after checking that it can be used."""
    from input_pipeline.base import SongBuilder

    cls = getattr(loaded, "Builder", None) if isinstance(loaded, ModuleType) else loaded
    if not (isinstance(cls, type) and issubclass(cls, SongBuilder)) or inspect.isabstract(cls):
        raise CorpusError(
            f"{place}: needs a class Builder that is a SongBuilder with a method corpus"
        )
    if not cls.name.isidentifier():
        raise CorpusError(f"{place}: {cls.name!r} is not a valid name for a data set")
    # Otherwise the shards of the two could be confused.
    if cls.name in NAMES:
        raise CorpusError(f"{place}: there is already a data set {cls.name}; use another name")
    cls.code_digest = hashlib.sha256(Path(inspect.getfile(cls)).read_bytes()).hexdigest()[:16]
    return cls


def _not_loaded(place: str, error: Exception) -> CorpusError:
    reason = " ".join(str(error).split())[:200]
    return CorpusError(f"{place}: cannot be loaded ({type(error).__name__}: {reason})")
