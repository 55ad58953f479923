"""The default: DAMFF on songs composed from a seed, a data set that needs no download.

Command: python train.py
Hardware, wall time: 2 CPU cores, 2 to 3 minutes including preparing the data.
Score: pooled CCC .89 valence, .94 arousal on the 24 test songs, which are synthetic.
Features at half the paper's resolution in time and in frequency, so that two CPU cores suffice.
"""

import ml_collections

from damff_jax.configs import default


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = default.get_config(model)
    config.batch_size = 8
    config.num_train_steps = 120
    config.log_every_steps = 10
    config.eval_every_steps = 60
    config.checkpoint_every_steps = 60

    default.halve_resolution(config)

    config.optim.learning_rate = 3e-3
    data = config.data
    data.dataset = "synthetic"
    data.options.n_clips = 112  # Songs for training and validation,
    data.options.n_test = 24  # and for the test.
    data.options.duration_s = 45.0
    data.options.sample_rate = 44_100
    data.options.seed = 0  # Determines all songs.
    data.options.validation_fraction = 0.125
    return config
