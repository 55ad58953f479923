"""DAMFF on EMOPIA's quadrants: pretraining for the other piano music, at the features of vgmidi.py.

Command: python train.py --config=configs/emopia.py --config.data.manual_dir=DIR
  and then --config=configs/vgmidi.py --config.init_from=runs/emopia to train from its weights.
Score: of signs that are constant within a clip, so not of a curve.
"""

import ml_collections

from damff_jax.configs import default


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = default.get_config(model)
    config.num_train_steps = 600
    config.log_every_steps = 20
    config.eval_every_steps = 100
    config.checkpoint_every_steps = 100

    default.piano_recipe(config)

    data = config.data
    data.dataset = "emopia"
    data.options.validation_fraction = 0.1
    data.options.split_seed = 0
    data.options.renderings = 1  # Of every clip; all but the first altered, for training.
    data.options.rendering_seed = 0
    data.eval_splits = ("validation",)
    return config
