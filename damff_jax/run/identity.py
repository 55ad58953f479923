"""What makes a run what it is, and whether a checkpoint is of it."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flax.traverse_util

from damff_jax.features import FeatureConfig, check_same
from damff_jax.models import with_defaults
from damff_jax.run.checkpoint_errors import CheckpointError
from damff_jax.training.augmentation import AugmentConfig

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
    """What a checkpoint says of itself; a run that resumes must have the same identity.

    Args:
      dataset: name and version of the data set.
      files: digests of what it was made from, by what they are of: `files`, `heard`, `teacher`;
        None where there are none.
      origin: meta data of the checkpoint that the run resumes or starts from, if there is one.
      resumed: whether it resumes from that one, rather than starting from its variables.

    Raises:
      CheckpointError, FeatureMismatchError: a run cannot start from those.
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
    # The data sets of the runs that this one starts from, one from the other.
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
    """Settings of an augmentation; of one that is off, none: a mask's size says nothing then."""
    return {} if AugmentConfig(**augment).is_off else augment


def check_compatible(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], *, option: str = "--workdir"
) -> None:
    """Compares the meta data of a checkpoint with that of the present run.

    Args:
      option: what named the checkpoint, for messages.

    Raises:
      CheckpointError: the models differ, or it was trained on another version of the present data
        set, in which training songs may be test songs here; it shows in what.
      FeatureMismatchError: the features differ; it shows both.
    """
    # How curves are smoothed afterwards is free.
    old, new = (with_defaults(meta["config"]["model"]) for meta in (stored, wanted))
    _refuse_differences("model", {**old, "smoothing": None}, {**new, "smoothing": None}, option)
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
    """Like `check_compatible`, and compares all that makes a training run what it is.

    Raises:
      CheckpointError, FeatureMismatchError: going on would make a run that no config describes.
    """
    check_compatible(stored, wanted)
    # A validation score chooses among the smoothed curves of one run.
    old, new = (with_defaults(meta["config"]["model"]) for meta in (stored, wanted))
    _refuse_differences("model", old, new)
    old, new = (
        flax.traverse_util.flatten_dict(meta["identity"], sep=".") for meta in (stored, wanted)
    )
    _refuse_differences("run", old, new)


def _refuse_differences(
    what: str, old: Mapping[str, Any], new: Mapping[str, Any], option: str = "--workdir"
) -> None:
    old, new = (json.loads(json.dumps(values)) for values in (old, new))
    different = [
        f"{key}: {old.get(key)} there, {new.get(key)} here"
        for key in sorted(old.keys() | new.keys())
        # A setting that came later is off in what was before it.
        if (old.get(key) or None) != (new.get(key) or None)
    ]
    if different:
        raise CheckpointError(
            f"the checkpoint is of another {what} ({'; '.join(different)}); take another {option}"
        )
