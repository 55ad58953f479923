"""The main job: DAMFF on songs composed from a seed, the data set that needs no download.

Command: python train.py
Hardware, wall time: 2 CPU cores, 2 to 3 minutes with preparing the data.
Score: pooled CCC .89 valence, .94 arousal on the 24 test songs, which are synthetic.
Features at half the paper's resolution in time and in frequency, so that two CPU cores do.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.batch_size = 8
    config.num_train_steps = 120
    config.log_every_steps = 10
    config.eval_every_steps = 60
    config.checkpoint_every_steps = 60

    config.features.sample_rate = 22_050
    config.features.n_fft = 2048
    config.features.win_length = 1323
    config.features.n_mels = 64

    config.optim.learning_rate = 3e-3
    config.data.dataset = "synthetic"
    config.data.crop_segments = 60
    return config
