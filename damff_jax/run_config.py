"""A run's config: what can be checked of it, and what of it makes the run what it is."""

import json
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from damff_jax import losses
from damff_jax.augmentation import AugmentConfig
from damff_jax.features import FeatureConfig
from damff_jax.inference import Windowing
from damff_jax.optim import OptimConfig


def check(config: ConfigDict) -> None:
    """Checks what can be checked before anything is computed.

    Raises:
      ValueError: naming the key that is at fault.
    """
    for name in (
        "steps_per_call",
        "num_train_steps",
        "log_every_steps",
        "eval_every_steps",
        "checkpoint_every_steps",
    ):
        if config[name] < 1:
            raise ValueError(f"{name} must be positive, not {config[name]}")
        if config[name] % config.steps_per_call:
            raise ValueError(
                f"{name} {config[name]} is no multiple of steps_per_call {config.steps_per_call}"
            )
    for name, size, n_devices in (
        ("batch_size", config.batch_size, jax.device_count()),
        # Every process evaluates by itself.
        ("data.eval_batch_size", config.data.eval_batch_size, jax.local_device_count()),
    ):
        if size < 1 or size % n_devices:
            raise ValueError(f"{name} {size} is no positive multiple of the {n_devices} devices")
    for name, value in (
        ("seed", config.seed),
        ("max_skipped_steps", config.max_skipped_steps),
        ("data.workers", config.data.workers),
    ):
        if value < 0:
            raise ValueError(f"{name} must not be negative")
    if config.select not in ("best", "latest"):
        raise ValueError(f"select: {config.select!r}; there are best, latest")
    if config.calibrate and config.select != "latest":
        raise ValueError("calibrate is of the last step, so it wants select=latest")
    Windowing.of(config)
    losses.check_weights(config.loss.to_dict())
    of_teacher = {
        "data.teacher": bool(config.data.teacher),
        "loss.teacher": bool(config.loss.teacher),
        "model.teacher_size": bool(config.model.get("teacher_size", 0)),
    }
    if len(set(of_teacher.values())) > 1:
        raise ValueError(
            f"{', '.join(of_teacher)} belong together: {config.data.teacher!r}, "
            f"{config.loss.teacher}, {config.model.get('teacher_size', 0)}"
        )
    if (config.model.name == "embedding_bigru") != bool(config.data.heard):
        raise ValueError(
            "data.heard, a file of embeddings, and model embedding_bigru belong together"
        )
    features = FeatureConfig(**config.features)
    # Three times the model halves both, the join along time makes up for one halving.
    if features.frames_per_segment < 8 or features.n_mels < 8:
        raise ValueError("features: a segment needs 8 frames and 8 Mel bins or more")
    OptimConfig(**config.optim)
    AugmentConfig(**config.augment)


def checkpoint_meta(
    config: ConfigDict,
    *,
    dataset: str,
    fingerprint: str | None = None,
    heard: str | None = None,
    teacher: str | None = None,
    ancestors: Sequence[str] = (),
) -> dict[str, Any]:
    """What a checkpoint says of itself; a run that goes on must have the same identity.

    Args:
      dataset: name and version of the data set.
      fingerprint: of the files that it was made from, if it was made from any.
      heard, teacher: digests of the files of embeddings, if there are such.
      ancestors: the data sets of the runs that this one starts from, one from the other.
    """
    identity = {
        **{name: config[name] for name in ("seed", "batch_size", "dtype")},
        "crop_segments": config.data.crop_segments,
        "dataset": dataset,
        "files": fingerprint,
        "heard": heard,
        "teacher": teacher,
        **{name: config[name] for name in ("select", "init_from", "calibrate")},
        "loss": config.loss.to_dict(),
        "augment": _unless_off(config.augment.to_dict()),
        "optim": config.optim.to_dict(),
    }
    return {
        "config": json.loads(config.to_json()),
        "features": FeatureConfig(**config.features).to_json(),
        "identity": identity,
        "ancestors": list(ancestors),
    }


def _unless_off(augment: dict[str, Any]) -> dict[str, Any]:
    """Settings of an augmentation; of one that is off, none: a mask's size says nothing then."""
    return {} if AugmentConfig(**augment).is_off else augment
