"""Every knob with its default, the model's in models.py. Other configs are deltas to this."""

import ml_collections

from damff_jax.configs import models


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    """DAMFF as read from the paper; what the paper does not say is ours, and marked.

    Every config takes the name of another model in `models.py`: `--config=configs/X.py:NAME`.
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.batch_size = 16  # Crops per step over all devices. Ours.
    config.num_train_steps = 3000
    config.steps_per_call = 1  # Steps between two returns to the host; divides all step counts.
    config.log_every_steps = 20
    config.eval_every_steps = 250  # Validation, and with it the choice of the best checkpoint.
    config.select = "best"  # What is evaluated: best on the validation songs, or latest.
    config.calibrate = False  # At the end, the curves' mean and deviation are set to the labels'.
    config.checkpoint_every_steps = 250
    config.max_skipped_steps = 10  # In a row without a finite loss and gradient; more stop the run.
    config.init_from = ""  # Workdir of a run of the same model to start from; empty: from scratch.
    config.dtype = "float32"  # Of the computation: float32 or bfloat16.

    config.features = _features()
    models.use(config, model)  # Its settings are in models.py.
    config.loss = _loss()
    config.augment = _augment()
    config.optim = _optim()
    config.data = _data()
    return config


def _features() -> ml_collections.ConfigDict:
    """Of the log-Mel spectrogram."""
    features = ml_collections.ConfigDict()
    features.sample_rate = 44_100
    features.n_fft = 2646
    features.win_length = 2646  # 60 ms
    features.hop_length = 441  # 10 ms; 50 frames per segment of 0.5 s
    features.n_mels = 128
    features.fmin = 0.0
    features.fmax = 0.0  # 0: half the sample rate.
    return features


def _loss() -> ml_collections.ConfigDict:
    """Weights of the training loss's terms. Ours: the paper's loss is not known."""
    loss = ml_collections.ConfigDict()
    loss.mse = 0.0
    loss.ccc_pooled = 1.0  # 1 - CCC over the global batch.
    loss.ccc_per_crop = 0.0  # 1 - the crops' mean CCC.
    loss.teacher = 0.0  # Squared error to the embeddings of data.teacher, see model.teacher_size.
    loss.ccc_within = 0.0  # 1 - CCC over the global batch of the crops' movement about their means.
    return loss


def _augment() -> ml_collections.ConfigDict:
    """Of training crops. Ours; off."""
    augment = ml_collections.ConfigDict()
    augment.gain_db = 0.0  # Louder or softer by up to so much.
    augment.equalizer_db = 0.0  # Standard deviation of a smooth curve over the Mel bins.
    augment.n_bin_masks = 0  # Bands set to the mean, of up to that share of the bins.
    augment.bin_mask_share = 0.125
    augment.n_frame_masks = 0  # Spans of time set to the mean, of up to that share of a crop.
    augment.frame_mask_share = 0.1
    augment.mixup = 0.0  # Alpha of the Beta distribution by which crops are mixed in pairs.
    return augment


def _optim() -> ml_collections.ConfigDict:
    """Of the optimiser. Ours."""
    optim = ml_collections.ConfigDict()
    optim.learning_rate = 1e-3
    optim.schedule = "cosine"  # cosine, constant.
    optim.warmup_fraction = 0.05
    optim.weight_decay = 1e-4
    optim.clip_norm = 1.0  # 0: no clipping.
    optim.b1 = 0.9
    optim.b2 = 0.999
    optim.ema_decay = 0.0  # 0: no moving average of the parameters and statistics.
    return optim


def _data() -> ml_collections.ConfigDict:
    """The data set, and how songs become crops and windows."""
    data = ml_collections.ConfigDict()
    data.dataset = "synthetic"  # synthetic, deam, mer1101, vgmidi, emopia, folder; a file.py.
    data.options = ml_collections.ConfigDict()  # The data set's own; the rest is its default.
    data.manual_dir = ""  # Where the user's files of the data set are.
    data.data_dir = "data"  # Where shards are.
    data.workers = 0  # Processes that prepare the data set; 0: one per core.
    data.heard = ""  # File of embeddings that the model hears in the place of the log-Mel.
    data.teacher = ""  # File of embeddings that training has as a second target.
    data.on_device = False  # Training songs in every device's memory, crops taken there.
    data.crop_segments = 60  # 30 s
    data.window_segments = 0  # Of evaluation and prediction; 0: as long as the crops.
    data.margin = 0  # Segments mirrored at a song's ends, so that they have context too.
    data.overlap = 15  # Segments that neighbouring windows share.
    data.eval_batch_size = 16  # Windows per evaluation step over all devices.
    data.eval_splits = ("validation", "test")  # Evaluated at the end, where they exist.
    return data


def halve_resolution(config: ml_collections.ConfigDict) -> None:
    """Halves the log-Mel's resolution in time and in frequency: a quarter of the work."""
    config.features.sample_rate = 22_050
    config.features.n_fft = 2048
    config.features.win_length = 1323
    config.features.n_mels = 64


def tenth_of_the_points(config: ml_collections.ConfigDict) -> None:
    """10 frames per segment and 64 Mel bins to 8 kHz: a tenth of the paper's points.

    The window is long for the sake of the low notes, whose partials lie closer together than a
    shorter one can tell apart.
    """
    config.features.sample_rate = 16_000
    config.features.n_fft = 2048
    config.features.win_length = 1600  # 100 ms
    config.features.hop_length = 800  # 50 ms
    config.features.n_mels = 64


def piano_recipe(config: ml_collections.ConfigDict) -> None:
    """Features and training for piano music on two CPU cores, the same for all its data sets."""
    tenth_of_the_points(config)

    config.select = "latest"  # VGMIDI's 4 to 9 validation songs of a fold are too few to choose by.
    config.optim.learning_rate = 2e-3
    config.optim.weight_decay = 2e-2
    config.optim.ema_decay = 0.98
    config.data.crop_segments = 30
    config.data.window_segments = 240  # Two minutes: most pieces as a whole.
    config.data.overlap = 30
