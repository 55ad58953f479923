"""DAMFF on MER1101 at the paper's settings.

Command: python train.py --config=configs/mer1101.py --config.data.manual_dir=DIR
Hardware, wall time, score: not measured, because the data set is not available.
"""

import ml_collections

from damff_jax.configs import default


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = default.get_config(model)
    config.num_train_steps = 4000
    data = config.data
    data.dataset = "mer1101"
    data.options.audio_start = 0.0  # The second of the song at which every audio file begins.
    data.options.split_file = ""  # song_id,split in manual_dir; empty: drawn from the seed.
    data.options.validation_fraction = 0.1
    data.options.test_fraction = 0.2
    data.options.split_seed = 0
    return config
