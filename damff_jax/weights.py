"""Weights as one file: the variables of a trained model, and what it takes to use them.

    python -m damff_jax.weights WORKDIR FILE.safetensors

A safetensors file holds arrays and text and nothing that could be run. Names of arrays are paths,
`params/branches/stage1/a_kernel`; the text is the checkpoint's meta data as JSON, and a SHA-256 of
it all, by which a damaged file is known.
"""

import argparse
import copy
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
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
      CheckpointError: there is no such file or checkpoint, it holds something else, or it is
        damaged.
    """
    if path == DEFAULT and not DEFAULT.exists():
        raise CheckpointError(
            f"{DEFAULT}: no such file, so no weights come along: name those of a training run, "
            f"its workdir or a {SUFFIX} file"
        )
    if not str(path).endswith(SUFFIX):
        return checkpoint.load_variables(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            text, stored_digest = texts["damff_jax"], texts["sha256"]
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _digest(flat, text) != stored_digest:
            raise CheckpointError(f"{path}: damaged: its content is not what was written")
        meta = json.loads(text)
        _ = meta["features"], meta["config"]["model"]["name"], meta["config"]["data"]["dataset"]
        variables = {"batch_stats": {}, **traverse_util.unflatten_dict(flat, sep="/")}
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (
        safetensors.SafetensorError,
        ValueError,
        LookupError,
        TypeError,
        RecursionError,
    ) as error:
        raise CheckpointError(f"{path}: not weights of this program ({error!r})") from error
    return variables, meta


def save(path: str | os.PathLike, variables: dict[str, Any], meta: dict[str, Any]) -> None:
    """Writes variables and meta data to a safetensors file, whole or not at all.

    Folders of the machine that trained are left out of the meta data.
    """
    meta = copy.deepcopy(meta)
    config = meta["config"]
    for values, name in (
        (config["data"], "manual_dir"),
        (config["data"], "data_dir"),
        (config["data"], "heard"),
        (config["data"], "teacher"),
        (config, "init_from"),
        (meta["identity"], "init_from"),
    ):
        if name in values:
            values[name] = ""
    flat = traverse_util.flatten_dict(variables, sep="/")
    arrays = {name: np.asarray(x, order="C") for name, x in flat.items()}
    text = json.dumps(meta, allow_nan=False)
    texts = {"damff_jax": text, "sha256": _digest(arrays, text)}
    with write_aside(path, mode="wb") as file:
        file.write(safetensors.numpy.save(arrays, texts))


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, x in sorted(arrays.items()):
        digest.update(f"\0{name} {x.dtype} {x.shape}\0".encode() + x.tobytes())
    return digest.hexdigest()


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
