"""VGMIDI with altered renderings, twice the steps, and a loss term for movement within crops.

Command:
  python train.py --config=configs/vgmidi_augmented.py:damff_plus --config.data.manual_dir=DIR
  with --config.data.options.fold=1 --workdir=runs/augmented1, and likewise 2, for the other folds.
Hardware, wall time: one CPU core, 7 minutes; rendering and preparing, two cores, up to 15.
Score: docs/results.md, rows damff_plus, damff_augmented and cnn_bigru_augmented.
"""

import ml_collections

from damff_jax.configs import vgmidi


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = vgmidi.get_config(model)
    config.num_train_steps = 800
    config.loss.ccc_within = 0.5
    config.data.options.renderings = 4
    return config
