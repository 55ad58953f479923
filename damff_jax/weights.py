"""Weights as one file: the variables of a trained model, and the metadata needed to use them.

    python -m damff_jax.weights WORKDIR FILE.safetensors

A safetensors file holds arrays and text, but no code. The names of arrays are paths such as
`params/branches/stage1/a_kernel`; the text is the checkpoint's metadata as JSON, and a SHA-256
digest of everything, by which damage is detected.
"""

import copy
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from damff_jax import pretrained
from damff_jax.evaluation import predictions
from damff_jax.evaluation.band import Errors
from damff_jax.evaluation.familiarity import Profile
from damff_jax.pretrained import SUFFIX, shipped, shipped_name
from damff_jax.run.checkpoint_errors import CheckpointError, CheckpointWarning
from damff_jax.songs import Song
from damff_jax.system import places
from damff_jax.system.command_line import Parser, program
from damff_jax.system.files import atomic_write
from damff_jax.system.places import local
from damff_jax.system.terminal import robust

# A collection of variables that holds a `familiarity.Profile`; models do not have it.
PROFILE = "familiarity"
# The metadata's entry for `band.Errors`.
BAND = "band"
_PROFILE_FILE = f"{PROFILE}{SUFFIX}"
_PROGRAM = program("weights")


def load(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables and metadata of a run's workdir, of a safetensors file, or of shipped weights.

    Args:
      path: the workdir or file or, if neither exists, a name of `shipped`.

    Returns:
      Like `checkpoint.load_variables`; if there is a profile of the training songs, its arrays are
      an additional collection of the variables, `PROFILE`. The metadata has an entry `BAND` if the
      errors on validation songs are known.

    Raises:
      CheckpointError: there is no such file or checkpoint, or it is damaged or something else.
    """
    if path == pretrained.DEFAULT and not pretrained.DEFAULT.exists():
        raise CheckpointError(
            f"{path}: missing, so there are no default weights; give the workdir of a training run "
            f"or a {SUFFIX} file"
        )
    try:
        check_exists(path)
    except places.PlaceError as error:
        raise CheckpointError(str(error)) from None
    if name := shipped_name(path):
        path = shipped()[name]
    # Imported late, because it imports JAX: a usage error should not wait for it.
    from flax import traverse_util

    if not str(path).endswith(SUFFIX):
        from damff_jax.run import checkpoint

        variables, meta = checkpoint.load_variables(path)
        if profile := load_profile(path):
            variables = {**variables, PROFILE: profile.arrays()}
        if errors := _validation_errors(path):
            meta = {**meta, BAND: errors.to_json()}
        return variables, meta
    flat, text = _read(path)
    try:
        meta = json.loads(text)
        _ = meta["features"], meta["config"]["model"]["name"], meta["config"]["data"]["dataset"]
        variables = {"batch_stats": {}, **traverse_util.unflatten_dict(flat, sep="/")}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not weights of this program ({error!r})") from error
    return variables, meta


def _validation_errors(workdir: str | os.PathLike) -> Errors | None:
    """A run's errors on its validation songs, if there are enough of them.

    A model can predict without them, so damage is a warning.
    """
    path = Path(workdir) / "predictions_validation.csv"
    if not path.exists():
        return None
    try:
        curves, _ = predictions.read(path)
    except predictions.PredictionsError as error:
        warnings.warn(f"{error}; curves have no band", CheckpointWarning, stacklevel=1)
        return None
    return Errors.of_curves(list(curves.values()))


def check_exists(path: str | os.PathLike) -> None:
    """Checks that a path that `load` would take exists.

    Raises:
      PlaceError: it does not; or it is not local.
    """
    local(os.fspath(path))
    is_default = path == pretrained.DEFAULT  # `load` says what to do if it is missing.
    if not is_default and shipped_name(path) is None:
        places.check_exists(path)


def save_profile(workdir: str | os.PathLike, profile: Profile) -> None:
    """Saves the profile of a run's training songs next to its checkpoints."""
    _write(Path(workdir) / _PROFILE_FILE, profile.arrays(), text="")


def keep_profile(workdir: str | os.PathLike, songs: Iterable[Song]) -> None:
    """Saves the profile of the training songs in a workdir, unless it has one already."""
    if load_profile(workdir) is None:
        profile = Profile.of_songs(song.log_mel_TxFxM for song in songs)
        if profile is not None:
            save_profile(workdir, profile)


def load_profile(workdir: str | os.PathLike) -> Profile | None:
    """The profile that `save_profile` wrote; None if it is missing or, with a warning, damaged.

    A model can predict without it.
    """
    path = Path(workdir) / _PROFILE_FILE
    if not path.exists():
        return None
    try:
        return Profile.from_arrays(_read(path)[0])
    except (CheckpointError, ValueError) as error:
        message = f"{error}; songs unlike the training songs are not detected"
        warnings.warn(message, CheckpointWarning, stacklevel=1)
        return None


def _read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], str]:
    """Arrays by name, and the text of the file.

    Raises:
      CheckpointError: the file is missing, or not what `_write` wrote.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            text, stored_digest = texts["damff_jax"], texts["sha256"]
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (safetensors.SafetensorError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path}: not weights of this program ({error!r})") from error
    if _digest(flat, text) != stored_digest:
        raise CheckpointError(f"{path}: damaged: its content does not match its digest")
    return flat, text


def _write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], text: str) -> None:
    # The library writes an array's buffer as if it were in C order.
    arrays = {name: np.asarray(x, order="C") for name, x in arrays.items()}
    texts = {"damff_jax": text, "sha256": _digest(arrays, text)}
    with atomic_write(path, mode="wb") as file:
        file.write(safetensors.numpy.save(arrays, texts))


def save(path: str | os.PathLike, variables: dict[str, Any], meta: dict[str, Any]) -> None:
    """Writes variables and metadata to a safetensors file, atomically.

    The metadata leaves out folders of the machine on which the model was trained.
    """
    from flax import traverse_util

    meta = copy.deepcopy(meta)
    config = meta["config"]
    # The config's name of a plug-in may be a path.
    config["data"]["dataset"] = meta["identity"]["dataset"].partition("/")[0]
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
    _write(path, flat, json.dumps(meta, allow_nan=False))


def digest(variables: dict[str, Any]) -> str:
    """SHA-256 of variables, whatever the file is that they were read from."""
    from flax import traverse_util

    flat = traverse_util.flatten_dict(variables, sep="/")
    return _digest({name: np.asarray(x) for name, x in flat.items()}, text="")


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, x in sorted(arrays.items()):
        digest.update(f"\0{name} {x.dtype} {x.shape}\0".encode() + x.tobytes())
    return digest.hexdigest()


@robust(_PROGRAM)
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("weights", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "workdir", type=local, help="of a training run, whose best checkpoint is written"
    )
    parser.add_argument("file", type=local, help=f"the file to write, *{SUFFIX}")
    parser.add_argument(
        "--lag_s",
        type=float,
        metavar="S",
        help="seconds by which its curves lag behind the sound, as measured by damff_jax.lag",
    )
    parser.add_argument(
        "--band",
        nargs="+",
        type=local,
        metavar="PREDICTIONS.csv",
        help="calibrate the band of curves by the errors in these files, of songs that models with "
        "the same recipe were not trained on; default: a workdir's predictions_validation.csv",
    )
    arguments = parser.parse_args(argv)
    if not arguments.file.endswith(SUFFIX):
        parser.error(f"{arguments.file}: the name must end in {SUFFIX}")
    try:
        check_exists(arguments.workdir)
    except places.PlaceError as error:
        parser.error(str(error))
    try:
        variables, meta = load(arguments.workdir)
        if arguments.lag_s is not None:
            meta = {**meta, "lag_s": arguments.lag_s}
        if arguments.band:
            meta = {**meta, BAND: _errors_of(arguments.band).to_json()}
        save(arguments.file, variables, meta)
    except (CheckpointError, predictions.PredictionsError, OSError) as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.file}: {os.path.getsize(arguments.file):,} bytes")
    return 0


def _errors_of(paths: Iterable[str]) -> Errors:
    """The errors in predictions files.

    Raises:
      PredictionsError: a file cannot be read, or there are too few songs.
    """
    curves = predictions.read_disjoint(paths)
    errors = Errors.of_curves(list(curves.values()))
    if errors is None:
        raise predictions.PredictionsError(f"{len(curves)} songs are too few to calibrate a band")
    return errors


if __name__ == "__main__":
    sys.exit(main())
