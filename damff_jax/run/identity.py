"""A run's identity, and whether a checkpoint belongs to the run."""

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.traverse_util

from damff_jax.features import FeatureConfig, check_same
from damff_jax.models import with_defaults
from damff_jax.run.checkpoint_errors import CheckpointError
from damff_jax.training.augmentation import AugmentConfig
from damff_jax.training.optim import OptimConfig

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def checkpoint_meta(
    config: "ConfigDict",
    *,
    dataset: str,
    files: Mapping[str, str | None],
    origin: Mapping[str, Any] | None = None,
    resumed: bool = True,
) -> dict[str, Any]:
    """A checkpoint's metadata; a run that resumes from it must have the same identity.

    Args:
      dataset: name and version of the data set.
      files: digests of the data's sources: `files`, `heard`, `teacher`; None where unused.
      origin: metadata of the checkpoint that the run resumes or starts from, if any.
      resumed: whether it resumes from that checkpoint, instead of starting from its variables.

    Raises:
      CheckpointError, FeatureMismatchError: a run cannot start from that checkpoint.
    """
    identity = {
        **{name: config[name] for name in ("seed", "batch_size", "dtype")},
        "crop_segments": config.data.crop_segments,
        "dataset": dataset,
        **files,
        **{name: config[name] for name in ("select", "init_from", "calibrate")},
        "loss": config.loss.to_dict(),
        "augment": _unless_off(config.augment.to_dict()),
        "optim": config.optim.to_dict(),
    }
    # The data sets of the runs from which this one descends.
    ancestors = list(origin.get("ancestors", ())) if origin else []
    if origin and not resumed:
        ancestors.append(origin["identity"]["dataset"])
    meta = {
        "config": json.loads(config.to_json()),
        "features": FeatureConfig(**config.features).to_json(),
        "identity": identity,
        "ancestors": ancestors,
    }
    if origin and not resumed:
        check_compatible(origin, meta, option="--config.init_from")
    return meta


def _unless_off(augment: dict[str, Any]) -> dict[str, Any]:
    """The settings of an augmentation; none if it is off, because they have no effect then."""
    return {} if AugmentConfig(**augment).is_off else augment


def check_compatible(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], *, option: str = "--workdir"
) -> None:
    """Compares the metadata of a checkpoint with that of the current run.

    Args:
      option: the option that named the checkpoint, for messages.

    Raises:
      CheckpointError: the models differ, or it was trained on another version of the current data
        set, whose training songs may be test songs here; the message shows the differences.
      FeatureMismatchError: the features differ; the message shows both.
    """
    # Curves may be smoothed differently afterwards.
    old, new = ({**_model(meta), "smoothing": None} for meta in (stored, wanted))
    _refuse_differences("model", old, new, option)
    old_features, new_features = (
        FeatureConfig.from_json(meta["features"]) for meta in (stored, wanted)
    )
    check_same(old_features, new_features, "the checkpoint")
    present = wanted["identity"]["dataset"]
    for seen in (stored["identity"]["dataset"], *stored.get("ancestors", ())):
        if seen.split("/")[0] == present.split("/")[0]:
            _refuse_differences(
                "version of the data set", {"dataset": seen}, {"dataset": present}, option
            )


def check_same_run(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Like `check_compatible`, and also compares the identity of the runs.

    Raises:
      CheckpointError, FeatureMismatchError: resuming would make a run that no config describes.
    """
    check_compatible(stored, wanted)
    # Within a run, validation scores must be of curves smoothed in the same way.
    _refuse_differences("model", _model(stored), _model(wanted))
    old, new = (
        flax.traverse_util.flatten_dict(_completed(meta["identity"]), sep=".")
        for meta in (stored, wanted)
    )
    _refuse_differences("run", old, new)


def _completed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """A run's identity, with the defaults of the optimiser's settings that it does not name."""
    if "optim" not in identity:
        return dict(identity)
    return {**identity, "optim": {**dataclasses.asdict(OptimConfig()), **identity["optim"]}}


def _model(meta: Mapping[str, Any]) -> dict[str, Any]:
    """A model's fields, without how its convolutions are computed, which makes no other model."""
    return {**with_defaults(meta["config"]["model"]), "convolution": None}


def _refuse_differences(
    what: str, old: Mapping[str, Any], new: Mapping[str, Any], option: str = "--workdir"
) -> None:
    old, new = (json.loads(json.dumps(values)) for values in (old, new))
    different = [
        f"{key}: {old.get(key)} in the checkpoint, {new.get(key)} here"
        for key in sorted(old.keys() | new.keys())
        # A setting added later was off before.
        if (old.get(key) or None) != (new.get(key) or None)
    ]
    if different:
        raise CheckpointError(
            f"the checkpoint belongs to another {what} ({'; '.join(different)}); use another "
            f"{option}"
        )
