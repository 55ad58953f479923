"""Checks of a run's config before anything is computed."""

import jax
from ml_collections import ConfigDict

from damff_jax.evaluation.inference import Windowing
from damff_jax.features import FeatureConfig
from damff_jax.songs import READING, SPLITS
from damff_jax.training import losses
from damff_jax.training.augmentation import AugmentConfig
from damff_jax.training.closed_form import SOLVABLE
from damff_jax.training.mapping import WAYS
from damff_jax.training.optim import OptimConfig


def check(config: ConfigDict, mode: str = "train") -> None:
    """Checks a config.

    Raises:
      ValueError: naming the wrong setting.
    """
    _check_steps(config)
    _check_sizes(config)
    if unknown := set(config.data.eval_splits) - set(SPLITS):
        raise ValueError(f"data.eval_splits: {unknown.pop()!r}; available: {', '.join(SPLITS)}")
    if config.parallel not in WAYS:
        raise ValueError(f"parallel: {config.parallel!r}; available: {', '.join(WAYS)}")
    if config.select not in ("best", "latest"):
        raise ValueError(f"select: {config.select!r}; available: best, latest")
    if config.calibrate and config.select != "latest":
        raise ValueError("calibrate applies to the last step, so it needs select=latest")
    _check_reading(config)
    Windowing.of(config)
    losses.check_weights(config.loss.to_dict())
    _check_embeddings(config)
    features = FeatureConfig(**config.features)
    # The model halves both three times; the join along time makes up for one halving.
    if features.frames_per_segment < 8 or features.n_mels < 8:
        raise ValueError("features: a segment needs at least 8 frames and 8 Mel bins")
    OptimConfig(**config.optim)
    AugmentConfig(**config.augment)
    if config.model.name in SOLVABLE and config.init_from:
        raise ValueError(
            f"init_from: {config.model.name} is solved in closed form, which needs no start"
        )
    if config.model.name in SOLVABLE and mode == "train" and jax.process_count() > 1:
        raise ValueError(
            f"{config.model.name} has a closed-form solution, computed in a single process"
        )


def with_batch_size(config: ConfigDict) -> ConfigDict:
    """The config with the global batch size, which may be set per device.

    Raises:
      ValueError: the size per device is negative.
    """
    per_device = config.batch_size_per_device
    if per_device < 0:
        raise ValueError("batch_size_per_device must not be negative")
    config = config.copy_and_resolve_references()
    if per_device:
        config.batch_size = per_device * jax.device_count()
    return config


def _check_steps(config: ConfigDict) -> None:
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
                f"{name} {config[name]} is not a multiple of steps_per_call {config.steps_per_call}"
            )


def _check_sizes(config: ConfigDict) -> None:
    size, n_devices = config.batch_size, jax.device_count()
    if size < 1 or size % n_devices:
        raise ValueError(f"batch_size {size} is not a positive multiple of the {n_devices} devices")
    if config.data.eval_batch_size < 1:
        raise ValueError("data.eval_batch_size must be positive")
    for name, value in (
        ("seed", config.seed),
        ("max_skipped_steps", config.max_skipped_steps),
        ("data.workers", config.data.workers),
    ):
        if value < 0:
            raise ValueError(f"{name} must not be negative")


def _check_reading(config: ConfigDict) -> None:
    data = config.data
    if data.reading not in READING:
        raise ValueError(f"data.reading: {data.reading!r}; available: {', '.join(READING)}")
    if data.reading == "stream" and (data.on_device or data.heard):
        other = "data.on_device" if data.on_device else "data.heard"
        raise ValueError(f"data.reading=stream does not go with {other}, which needs all songs")


def _check_embeddings(config: ConfigDict) -> None:
    of_teacher = {
        "data.teacher": bool(config.data.teacher),
        "loss.teacher": bool(config.loss.teacher),
        "model.teacher_size": bool(config.model.get("teacher_size", 0)),
    }
    if len(set(of_teacher.values())) > 1:
        raise ValueError(
            f"{', '.join(of_teacher)} must be set together: {config.data.teacher!r}, "
            f"{config.loss.teacher}, {config.model.get('teacher_size', 0)}"
        )
    if (config.model.name == "embedding_bigru") != bool(config.data.heard):
        raise ValueError(
            "data.heard, a file of embeddings, and model embedding_bigru must be set together"
        )
