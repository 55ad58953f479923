"""DEAM by the recipe of damff_plus: a frozen tagger's embeddings as a second training target.

Command: python train.py --config=configs/deam_plus.py:damff_plus --config.data.manual_dir=DIR \
  --config.data.teacher=FILE.npz
  with the options of configs/deam.py. FILE has embeddings of the training songs, see
  input_pipeline/embeddings.py; only training needs them.
Hardware, wall time, score: docs/results.md, row damff_plus.
The recipe was chosen without the test songs of the first of five folds; see docs/results.md.
"""

import ml_collections

from damff_jax.configs import deam_reduced


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    config = deam_reduced.get_config(model)
    config.num_train_steps = 1200
    config.eval_every_steps = 240
    # All songs but the test songs are for training; nothing is left to choose.
    config.select = "latest"
    config.calibrate = True
    config.data.options.validation_fraction = 0.0
    config.data.eval_splits = ("test",)
    config.optim.learning_rate = 2e-3
    config.loss.ccc_within = 2.0
    # Crops, and windows in prediction, are 10 s long.
    config.data.crop_segments = 20
    config.data.overlap = 10
    if model == "damff_plus":
        config.model.join = "channel"  # Half the work of joining along time, and no worse.
        config.model.squeeze_channels = 16
        config.model.hidden_size = 64
        config.model.smoothing = (1, 0)  # A curve without delay.
    if "teacher_size" in config.model:
        config.model.teacher_size = 200
        config.loss.teacher = 6.0
    return config
