"""DAMFF on your own songs: a folder of audio, valence.csv and arousal.csv.

Command: python train.py --config=configs/folder.py --config.data.manual_dir=DIR
Hardware, wall time, score: they depend on your songs.
"""

import ml_collections

from damff_jax.configs import default


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = default.get_config(model)
    data = config.data
    data.dataset = "folder"
    data.options.low = -1.0  # The scale of the label files.
    data.options.high = 1.0
    data.options.start_time = -1.0  # Of the first column, in seconds; negative: from its name.
    data.options.audio_start = 0.0  # The second of the song at which every audio file begins.
    data.options.split_file = ""  # song_id,split in manual_dir; empty: drawn from the seed.
    data.options.validation_fraction = 0.15
    data.options.test_fraction = 0.15
    data.options.split_seed = 0
    return config
