"""Every setting with its default, the model's in models.py. Other configs are deltas to this."""

import ml_collections

from damff_jax.configs import models


def get_config(model: str = "damff") -> ml_collections.ConfigDict:
    """DAMFF as described in the paper; settings that are not from the paper are marked.

    Every config accepts the name of another model in `models.py`: `--config=configs/X.py:NAME`.
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.batch_size = 16  # Crops per step over all devices. Not from the paper.
    config.batch_size_per_device = 0  # Crops per step on each, in place of batch_size; 0: off.
    config.num_train_steps = 3000
    config.steps_per_call = 1  # Steps per call from the host; must divide all step counts.
    config.log_every_steps = 20
    config.eval_every_steps = 250  # Validation, which chooses the best checkpoint.
    config.select = "best"  # The evaluated checkpoint: best on the validation songs, or latest.
    config.calibrate = False  # At the end, gives curves the labels' mean and deviation.
    config.checkpoint_every_steps = 250
    config.max_skipped_steps = 10  # Consecutive steps without finite gradients; more stop the run.
    config.init_from = ""  # Workdir of a run of the same model to start from; empty: none.
    config.dtype = "float32"  # Of the computation: float32 or bfloat16.
    config.parallel = "pmap"  # Puts the step on the devices: pmap or shard_map, with equal results.

    config.features = _features()
    models.use(config, model)  # Its settings are in models.py.
    config.loss = _loss()
    config.augment = _augment()
    config.optim = _optim()
    config.data = _data()
    return config


def _features() -> ml_collections.ConfigDict:
    """The log-Mel spectrogram."""
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
    """Weights of the training loss's terms. Not from the paper, whose loss is not known."""
    loss = ml_collections.ConfigDict()
    loss.mse = 0.0
    loss.ccc_pooled = 1.0  # 1 - CCC over the global batch.
    loss.ccc_per_crop = 0.0  # 1 - the crops' mean CCC.
    loss.teacher = 0.0  # Squared error to the embeddings of data.teacher, see model.teacher_size.
    loss.ccc_within = 0.0  # 1 - CCC over the global batch, after subtracting each crop's mean.
    return loss


def _augment() -> ml_collections.ConfigDict:
    """Augmentation of training crops; off."""
    augment = ml_collections.ConfigDict()
    augment.gain_db = 0.0  # Louder or softer by up to this much.
    augment.equalizer_db = 0.0  # Standard deviation of a smooth curve over the Mel bins.
    augment.n_bin_masks = 0  # Bands set to the mean, each up to the share below of the bins.
    augment.bin_mask_share = 0.125
    augment.n_frame_masks = 0  # Spans set to the mean, each up to the share below of a crop.
    augment.frame_mask_share = 0.1
    augment.mixup = 0.0  # Alpha of the Beta distribution with which crops are mixed in pairs.
    return augment


def _optim() -> ml_collections.ConfigDict:
    """The optimiser. Not from the paper."""
    optim = ml_collections.ConfigDict()
    optim.learning_rate = 1e-3
    optim.base_batch_size = 0  # Scales the rate by √(batch_size / this); 0: no scaling.
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
    data.dataset = "synthetic"  # synthetic, deam, mer1101, vgmidi, emopia, folder; or a file.py.
    data.options = ml_collections.ConfigDict()  # The data set's own; by default, its defaults.
    data.manual_dir = ""  # Folder with the data set's files.
    data.data_dir = "data"  # Folder of the shards.
    data.workers = 0  # Processes that prepare the data set; 0: one per core.
    data.heard = ""  # File of embeddings that are the model's input instead of the log-Mel.
    data.teacher = ""  # File of embeddings that are a second target of training.
    data.reading = "auto"  # memory, stream (from the shards); auto: memory if a quarter holds them.
    data.on_device = False  # Keep training songs in every device's memory, and crop there.
    data.crop_segments = 60  # 30 s
    data.window_segments = 0  # Of evaluation and prediction; 0: as long as the crops.
    data.margin = 0  # Segments mirrored at a song's ends, which then have context too.
    data.overlap = 15  # Segments that neighbouring windows share.
    data.eval_batch_size = 16  # Windows per evaluation step, on each device.
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

    The window is long because of low notes, whose partials are too close together for a shorter
    one to separate.
    """
    config.features.sample_rate = 16_000
    config.features.n_fft = 2048
    config.features.win_length = 1600  # 100 ms
    config.features.hop_length = 800  # 50 ms
    config.features.n_mels = 64


def piano_recipe(config: ml_collections.ConfigDict) -> None:
    """Features and training for piano music on two CPU cores, the same for all its data sets."""
    tenth_of_the_points(config)

    config.select = "latest"  # A fold of VGMIDI has 4 to 9 validation songs, too few to choose by.
    config.optim.learning_rate = 2e-3
    config.optim.weight_decay = 2e-2
    config.optim.ema_decay = 0.98
    config.data.crop_segments = 30
    config.data.window_segments = 240  # Two minutes, longer than most pieces.
    config.data.overlap = 30
