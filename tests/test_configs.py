"""The named configs: every one builds, and its model has a known size."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import pytest

import train
from damff_jax.models import create_model
from input_pipeline import datasets

# At 25 frames × 64 bins a segment has 6 × 8 points, a quarter of the paper's 12 × 16.
PARAMETERS = {
    "default": 188_819,
    "deam": 188_819,
    "folder": 188_819,
    "mer1101": 188_819,
    "synthetic": 115_703,
    "vgmidi": 115_703,
}
NAMES = sorted(path.stem for path in (train.ROOT / "configs").glob("[a-z]*.py"))


def get_config(name):
    return importlib.import_module(f"configs.{name}").get_config()


def test_every_config_is_counted():
    assert sorted(PARAMETERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name):
    config = get_config(name)
    features, _ = train.check_config(config)
    model = create_model(config.model, dtype=config.dtype, axis_name=None)
    log_mel = jnp.zeros((1, 1, features.frames_per_segment, features.n_mels))
    init = jax.eval_shape(
        lambda: model.init(jax.random.key(0), log_mel, jnp.ones((1, 1), bool), train=False)
    )
    assert sum(x.size for x in jax.tree.leaves(init["params"])) == PARAMETERS[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "default"])
def test_a_data_set_config_shows_all_its_options_with_their_defaults(name):
    data = get_config(name).data
    options = datasets.make_options(data.dataset, data.options.to_dict())
    assert data.options.to_dict() == dataclasses.asdict(type(options)())
