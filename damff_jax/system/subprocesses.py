"""Processes that a command starts."""

import os
import sys


def environment() -> dict[str, str]:
    """An environment in which `python -m` finds the packages that this process finds.

    A checkout need not be installed, nor be the current folder.
    """
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
