"""The models a config can have: the fields of `config.model`, one function per model.

    python train.py --config=configs/vgmidi.py:ridge

trains ridge regression instead of DAMFF on that data set, in runs/vgmidi-ridge. Everything else is
as in the data set's config; models that are solved in closed form ignore the optimiser, the loss
and the numbers of steps. Parameters are counted at 50 frames × 128 Mel bins (44.1 kHz) and, in
brackets, at 25 × 64 (`default.halve_resolution`).
"""

import ml_collections


def damff() -> ml_collections.ConfigDict:
    """DAMFF as described in the paper: 188,819 parameters (115,703)."""
    model = ml_collections.ConfigDict()
    model.name = "damff"
    model.channels = (8, 16, 64)  # Per branch, of the three stages.
    model.kernels_a = ((1, 5), (5, 5), (3, 3))  # (time, frequency)
    model.kernels_b = ((3, 1), (3, 3), (5, 5))
    model.branches = "ab"  # Both scales, or one: a, b.
    model.join = "time"  # Of the branches after stage 1: time, channel.
    model.convolution = "plain"  # On accelerators: plain, folded, merged; equal, of other speed.
    model.fusion = "daff"  # daff, aff, channel, spatial, sum, concat.
    model.reduction = 4  # Of the attentions' bottlenecks.
    model.squeeze_channels = 1  # Kept per point by the 1 x 1 convolution.
    model.context_size = 0  # Units that describe the whole crop to the sequence model; 0: none.
    model.sequence = "bilstm"  # bilstm, lstm, none.
    model.hidden_size = 48  # LSTM units per direction.
    model.dropout_rate = 0.0
    model.smoothing = (1, 0)  # Of the output: width, delay in segments; (1, 0): none.
    model.teacher_size = 0  # Dimensions of a teacher's embeddings; 0: none.
    return model


def damff_plus() -> ml_collections.ConfigDict:
    """DAMFF with eight channels into the sequence model: 705,370 parameters (245,182).

    Not from the paper, whose single channel is a bottleneck. Except in training, the output is
    averaged over 10 s with a delay of 3 s, because ratings are smooth and late.
    """
    model = damff()
    model.squeeze_channels = 8
    model.dropout_rate = 0.3
    model.smoothing = (21, 6)
    return model


def constant() -> ml_collections.ConfigDict:
    """The training labels' mean: 2 parameters (2). A baseline for the RMSE.

    Its CCC is 0 within a fold, and slightly negative over several folds, because if the labels of a
    fold are high, those of its training songs are low.
    """
    model = ml_collections.ConfigDict()
    model.name = "constant"
    return model


def ridge() -> ml_collections.ConfigDict:
    """Ridge regression on log-Mel statistics, in closed form: 2,050 parameters (1,026)."""
    model = ml_collections.ConfigDict()
    model.name = "ridge"
    model.windows = (1, 7, 21, 0)  # Segments, odd; 0: the whole crop.
    model.penalties = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)  # Validation chooses.
    model.penalty = 1.0  # Without validation songs.
    return model


def cnn_bigru() -> ml_collections.ConfigDict:
    """CNN + BiGRU after Malik et al. (2017), as large as DAMFF: 182,692 parameters (133,540)."""
    model = ml_collections.ConfigDict()
    model.name = "cnn_bigru"
    model.channels = 16  # Of the one convolution.
    model.dense_size = 96
    model.hidden_size = 48  # GRU units per direction and branch.
    model.pieces = 2  # Of maxout.
    model.dropout_rate = 0.0
    return model


def cnn_bigru_small() -> ml_collections.ConfigDict:
    """The same with few parameters, like the original: 10,804 parameters (6,708)."""
    model = cnn_bigru()
    model.channels = 8
    model.dense_size = 16
    model.hidden_size = 8
    model.dropout_rate = 0.25
    return model


def cnn_bilstm() -> ml_collections.ConfigDict:
    """DAMFF with a single scale and no fusion: 190,246 parameters (79,654)."""
    model = ml_collections.ConfigDict()
    model.name = "cnn_bilstm"
    model.channels = (16, 32, 64)  # Of the three stages.
    model.squeeze_channels = 4  # Kept per point by the 1 x 1 convolution.
    model.hidden_size = 48  # LSTM units per direction.
    model.dropout_rate = 0.0
    return model


def frame_bilstm() -> ml_collections.ConfigDict:
    """A BiLSTM on segments' log-Mel statistics and deltas: 164,738 parameters (131,970)."""
    model = ml_collections.ConfigDict()
    model.name = "frame_bilstm"
    model.dense_size = 128
    model.hidden_size = 64  # LSTM units per direction.
    model.dropout_rate = 0.0
    return model


def embedding_bigru() -> ml_collections.ConfigDict:
    """A BiGRU on a frozen encoder's embeddings, in the file data.heard; 200 dimensions: 72,002."""
    model = ml_collections.ConfigDict()
    model.name = "embedding_bigru"
    model.hidden_size = 48  # GRU units per direction.
    model.dropout_rate = 0.5
    return model


MODELS = {
    model.__name__: model
    for model in (
        damff,
        damff_plus,
        constant,
        ridge,
        cnn_bigru,
        cnn_bigru_small,
        cnn_bilstm,
        frame_bilstm,
        embedding_bigru,
    )
}


def use(config: ml_collections.ConfigDict, name: str) -> None:
    """Sets a config's model.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; available: {', '.join(MODELS)}")
    config.model = MODELS[name]()
