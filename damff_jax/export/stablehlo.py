"""StableHLO, by `jax.export`: one program for CPU, CUDA and TPU, any batch and any length."""

import os
from pathlib import Path

import jax

from damff_jax.export.program import program, shapes
from damff_jax.prediction.trained import Trained
from damff_jax.system.files import atomic_write

PLATFORMS = ("cpu", "cuda", "tpu")
FILE = "model.stablehlo"
NEEDS = "jax"
IMPORTS = "import jax\nfrom jax import export"
LOADING = f"""
model = export.deserialize(bytearray((folder / "{FILE}").read_bytes()))
apply = jax.jit(model.call)
"""
NOTES = f"""
`{FILE}` is what `jax.export` serialises: StableHLO with its calling convention. JAX reads it for at
least six months after the release that wrote it. It runs on CPU, CUDA and TPU. On the CPU its
numbers are bit for bit those of the checkpoint, if both are compiled with the same options.
"""


def write(folder: str | os.PathLike[str], trained: Trained) -> None:
    """Writes the model into a folder.

    Raises:
      OSError: it cannot be written.
    """
    exported = jax.export.export(jax.jit(program(trained, fold=False)), platforms=PLATFORMS)
    with atomic_write(Path(folder) / FILE, "wb") as file:
        file.write(exported(*shapes(trained.features)).serialize())
