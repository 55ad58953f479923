"""A trained model, and what its file says about it."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn

from damff_jax import pretrained, weights
from damff_jax.evaluation.band import Errors
from damff_jax.evaluation.familiarity import Profile
from damff_jax.evaluation.inference import Windowing
from damff_jax.features import FeatureConfig
from damff_jax.models import create_model
from damff_jax.run.checkpoint import CheckpointError
from damff_jax.system.command_line import VERSION

# How the weights shipped with the package were trained, by their name; see the model cards.
_ORIGINS = {
    "damff_plus_deam": "trained on listeners' ratings of 10 s of each of DEAM's 1,802 songs, free "
    "music of many genres: arousal is more reliable than valence",
    "damff_plus_vgmidi": "trained on piano arrangements of game music (VGMIDI): arousal carries "
    "over to other piano music, valence hardly; not trained on other instruments",
}


class Trained(NamedTuple):
    """A trained model.

    Attributes:
      name: of the weights.
      origin: one line about how it was trained.
      model: for one device.
      variables: of the model.
      features: the settings of its input.
      windowing: how songs are cut for it.
      lag_s: seconds by which its curves lag behind the sound, if measured.
      profile: of the training songs, if kept.
      errors: on songs that it was not trained on, if known.
      facts: what a page says about the weights, by what it is called.
    """

    name: str
    origin: str
    model: nn.Module
    variables: dict[str, Any]
    features: FeatureConfig
    windowing: Windowing
    lag_s: float | None
    profile: Profile | None
    facts: dict[str, str]
    errors: Errors | None = None


def load(checkpoint: str | os.PathLike[str]) -> Trained:
    """Reads a trained model from a workdir, a safetensors file, or shipped weights by their name.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, or its model does not take audio.
      FeatureMismatchError, ValueError: another version of this program wrote it.
    """
    variables, meta = weights.load(checkpoint)
    config = meta["config"]
    features = FeatureConfig.from_json(meta["features"])
    if meta["identity"].get("heard"):
        raise CheckpointError(
            f"{checkpoint}: the model takes another encoder's embeddings, not audio"
        )
    name = Path(os.path.normpath(checkpoint)).stem
    profile, errors = variables.pop(weights.PROFILE, None), meta.get(weights.BAND)
    return Trained(
        name=name,
        origin=_origin(checkpoint, config["data"]["dataset"]),
        model=create_model(config["model"], dtype=config["dtype"], axis_name=None),
        variables=variables,
        features=features,
        windowing=Windowing.of(config),
        lag_s=meta.get("lag_s"),
        profile=Profile.from_arrays(profile) if profile else None,
        errors=Errors.from_json(errors) if errors else None,
        facts={
            "Weights": name,
            "Model": config["model"]["name"],
            "SHA-256 of the weights": weights.digest(variables),
            "Program": VERSION,
        },
    )


def _origin(checkpoint: str | os.PathLike[str], dataset: str) -> str:
    if dataset == "synthetic":
        return "trained on synthetic songs only: not meaningful for real music"
    if name := pretrained.shipped_name(checkpoint):
        return _ORIGINS[name]
    return f"trained on {dataset}"
