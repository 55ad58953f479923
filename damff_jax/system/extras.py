"""The package's extras: libraries that some commands need and `predict` does not."""

import importlib.util
import sys

# Modules by the extra that installs them; each represents its package.
_MODULES = {
    "train": ("ml_collections", "tensorboard", "tensorflow", "tensorflow_datasets", "matplotlib"),
    "plot": ("matplotlib",),
    "midi": ("mido",),
    "beam": ("apache_beam",),
    "onnx": ("jax2onnx",),
    "benchmark": ("librosa", "matplotlib", "tensorflow", "tensorflow_datasets"),
    "parity": ("torch",),
    "completion": ("shtab",),
}


def missing(extra: str) -> str | None:
    """What to install, if a library of an extra is missing; imports none of them."""
    if all(importlib.util.find_spec(module) for module in _MODULES[extra]):
        return None
    return f"needs the extra [{extra}]: pip install 'damff_jax[{extra}]'"


def require(program: str, extra: str) -> None:
    """Exits with status 2 and a line that names the extra, if a library is missing."""
    if message := missing(extra):
        print(f"{program}: error: {message}", file=sys.stderr)
        sys.exit(2)
