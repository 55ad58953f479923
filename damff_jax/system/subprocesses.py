"""Processes that a command starts."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

# For an environment. Numerical libraries would otherwise start a thread per core in every process.
SINGLE_THREADED = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def environment() -> dict[str, str]:
    """An environment in which `python -m` finds the packages that this process finds.

    A checkout need not be installed, nor be the current folder.
    """
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}


@contextlib.contextmanager
def temporary_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of the environment, which processes inherit that are started within."""
    saved = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
