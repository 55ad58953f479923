"""DAMFF on DEAM at the paper's settings.

Command: python train.py --config=configs/deam.py --config.data.manual_dir=DIR
  with --config.data.options.protocol=mediaeval2015 for the 431 clips of MediaEval 2015; with
  protocol=cross_validation and fold=0 to 9, each in its own workdir, for ten folds of the clips;
  with audio_start=30 for excerpts that begin at second 30 of the songs.
Hardware, wall time, score: docs/results.md, row damff_paper.
"""

import ml_collections

from damff_jax.configs import default


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = default.get_config(model)
    config.num_train_steps = 960  # About a dozen epochs: with more, every model overfits.
    config.eval_every_steps = 80
    config.checkpoint_every_steps = 240
    config.optim.weight_decay = 2e-2
    config.optim.ema_decay = 0.98
    data = config.data
    data.dataset = "deam"
    data.options.audio_start = 0.0  # The second of the song at which every audio file begins.
    # release, mediaeval2015: 1,744 clips or 431 of them, tested on the 58 full songs;
    # cross_validation, mediaeval2015_cross_validation: the same clips, tested on a fold of them.
    data.options.protocol = "release"
    data.options.fold = 0  # For cross-validation: the fold that is the test split.
    data.options.n_folds = 10
    data.options.validation_fraction = 0.1
    data.options.split_seed = 0
    return config
