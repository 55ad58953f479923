"""Weights as one file: the variables of a trained model, and what it takes to use them.

    python -m damff_jax.weights WORKDIR FILE.safetensors

A safetensors file holds arrays and text and nothing that could be run. Names of arrays are paths,
`params/branches/stage1/a_kernel`; the text is the checkpoint's meta data as JSON.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from damff_jax import checkpoint
from damff_jax.checkpoint import CheckpointError
from damff_jax.files import write_aside

# DAMFF for piano music, trained on VGMIDI; see the model card beside it.
DEFAULT = Path(__file__).with_name("pretrained") / "damff_plus_vgmidi.safetensors"
SUFFIX = ".safetensors"


def load(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables and meta data of a run's workdir or of a safetensors file.

    Returns:
      As `checkpoint.load_variables`.

    Raises:
      CheckpointError: there is no such file or checkpoint, or it holds something else.
    """
    if not str(path).endswith(SUFFIX):
        return checkpoint.load_variables(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            meta = json.loads((file.metadata() or {})["damff_jax"])
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        variables = {"batch_stats": {}, **traverse_util.unflatten_dict(flat, sep="/")}
        _ = meta["config"]["model"], meta["features"], meta["step"], variables["input_stats"]
    except OSError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not weights of this program ({error!r})") from error
    return variables, meta


def save(path: str | os.PathLike, variables: dict[str, Any], meta: dict[str, Any]) -> None:
    """Writes variables and meta data to a safetensors file, whole or not at all."""
    flat = traverse_util.flatten_dict(variables, sep="/")
    arrays = {name: np.ascontiguousarray(x) for name, x in flat.items()}
    text = {"damff_jax": json.dumps(meta, allow_nan=False)}
    with write_aside(path, mode="wb") as file:
        file.write(safetensors.numpy.save(arrays, text))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("weights", description=__doc__.split("\n\n")[0])
    parser.add_argument("workdir", help="of a training run; its best checkpoint is written")
    parser.add_argument("file", help=f"to write, *{SUFFIX}")
    arguments = parser.parse_args(argv)
    if not arguments.file.endswith(SUFFIX):
        parser.error(f"{arguments.file}: the name must end in {SUFFIX}")
    try:
        save(arguments.file, *load(arguments.workdir))
    except (CheckpointError, OSError) as error:
        print(f"weights: error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.file}: {os.path.getsize(arguments.file):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
