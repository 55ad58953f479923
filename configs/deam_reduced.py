"""DEAM at a tenth of the paper's points, for two CPU cores: the base of the study's models.

Command: python train.py --config=configs/deam_reduced.py --config.data.manual_dir=DIR
  with the options of configs/deam.py; a name after a colon selects another model.
Hardware, wall time, score: docs/results.md, rows of the compared models.
"""

import ml_collections

from damff_jax.configs import deam, default


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = deam.get_config(model)
    default.tenth_of_the_points(config)
    return config
