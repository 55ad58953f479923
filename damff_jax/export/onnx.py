"""ONNX, by jax2onnx: for ONNX Runtime, in a browser too."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax

from damff_jax.export.program import INPUTS, OUTPUT, program, shapes
from damff_jax.prediction.trained import Trained
from damff_jax.system.files import atomic_write

FILE = "model.onnx"
NEEDS = "onnxruntime"
IMPORTS = "import onnxruntime"
LOADING = f"""
session = onnxruntime.InferenceSession(folder / "{FILE}")
def apply(log_mel, mask):
    return session.run(None, {{"{INPUTS[0]}": log_mel, "{INPUTS[1]}": mask}})[0]
"""
NOTES = f"""
`{FILE}` has the inputs `{INPUTS[0]}` and `{INPUTS[1]}` and the output `{OUTPUT}`, of any batch and
time. Its numbers are those of the checkpoint to 1e-5.
"""


def write(folder: str | os.PathLike[str], trained: Trained) -> None:
    """Writes the model into a folder; needs jax2onnx.

    Raises:
      OSError: it cannot be written.
    """
    import jax2onnx

    # It warns of constants whose type it does not need.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    # It cannot convert a choice by platform, whose branches all compute the same.
    with mock.patch.object(jax.lax, "platform_dependent", _default):
        model = jax2onnx.to_onnx(
            program(trained),
            shapes(trained.features),
            model_name="damff",
            input_names=INPUTS,
            output_names=[OUTPUT],
        )
    with atomic_write(Path(folder) / FILE, "wb") as file:
        file.write(model.SerializeToString())


def _default(*arguments: Any, default: Callable[..., Any], **others: Callable[..., Any]) -> Any:
    """As `jax.lax.platform_dependent` on a platform that is not named."""
    del others
    return default(*arguments)
