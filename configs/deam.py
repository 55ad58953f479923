"""DAMFF on DEAM at the paper's setting.

Command: python train.py --config=configs/deam.py --config.data.manual_dir=DIR
  with --config.data.options.protocol=mediaeval2015 for the 431 clips of MediaEval 2015.
Hardware, wall time, score: not measured, DEAM's audio is the user's to download.
"""

import ml_collections

from configs import default


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = default.get_config(model)
    config.num_train_steps = 6000
    data = config.data
    data.dataset = "deam"
    data.options.protocol = "release"  # release: 1,744 clips; mediaeval2015: 431 of them.
    data.options.validation_fraction = 0.1
    data.options.split_seed = 0
    return config
