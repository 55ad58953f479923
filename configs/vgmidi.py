"""DAMFF on VGMIDI: people's ratings of piano pieces, split by game.

Command: python train.py --config=configs/vgmidi.py --config.data.manual_dir=DIR
  with --config.data.options.fold=1 --workdir=runs/vgmidi1, and likewise 2, for the other folds.
Hardware, wall time: one CPU core, 3 to 4 minutes; rendering and preparing, two cores, up to 9.
Score: pooled CCC .25 valence, .65 arousal on the test games of fold 0 (seed 0).
Features at a tenth of the paper's points (see `default.piano_recipe`), for two CPU cores.
"""

import ml_collections

from damff_jax.configs import default


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = default.get_config(model)
    config.num_train_steps = 400
    config.log_every_steps = 10
    config.eval_every_steps = 100
    config.checkpoint_every_steps = 100

    default.piano_recipe(config)

    data = config.data
    data.dataset = "vgmidi"
    data.options.fold = 0
    data.options.n_folds = 0  # 0: the three given folds.
    data.options.validation_fraction = 0.15
    data.options.split_seed = 0
    data.options.renderings = 1  # Of every piece; all but the first altered, for training.
    data.options.rendering_seed = 0
    return config
