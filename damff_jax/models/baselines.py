"""The baselines that are trained like DAMFF: with the same input, loss and loop.

The defaults give about DAMFF's 188,819 parameters, at 50 frames × 128 Mel bins.
Letters: B batch, T segments of 0.5 s, F frames per segment, M Mel bins, N segments (B × T),
H time, W frequency, C channels, D features, V = 2 (valence, arousal).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.branches import ConvStage, MultiScaleBranches
from damff_jax.models.fields import Rate, Size, StageChannels
from damff_jax.models.head import sequence_and_head
from damff_jax.models.inputs import deltas, standardized, window_statistics
from damff_jax.models.kernels.gru import BiGRU


class CNNBiGRU(nn.Module):
    """One convolution, then a recurrent branch each for valence and arousal: (B, T, 2), float32.

    Source: M. Malik, S. Adavanne, K. Drossos, T. Virtanen, D. Ticha, R. Jarina, "Stacked
    Convolutional and Recurrent Neural Networks for Music Emotion Recognition", SMC 2017.

    As published (known from its abstract and a review; the full text was not available): one
    convolution layer; then two branches, for arousal and for valence, of bidirectional GRU with
    dropout and a maxout output; few parameters; the branches are trained separately.
    Not from the paper: all widths; log-Mel frames as the input; the 3 × 3 kernel with batch
    normalisation, ReLU and pooling as in DAMFF's blocks; the mean over a segment's time; the dense
    layer; both branches trained together, with the configured loss and without the paper's
    elastic-net penalty.

    Args:
      channels: of the convolution.
      dense_size: of the layer between the convolution and the branches.
      hidden_size: GRU units per direction and branch.
      pieces: linear pieces, of which maxout takes the largest.
      dropout_rate: before and after the recurrence.
      dtype, axis_name: as of `DAMFF`.
    """

    channels: Size = 16
    dense_size: Size = 96
    hidden_size: Size = 48
    pieces: Size = 2
    dropout_rate: Rate = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(
        self, log_mel_BxTxFxM: jax.Array, mask_BxT: jax.Array, *, train: bool
    ) -> jax.Array:
        b, t, f, m = log_mel_BxTxFxM.shape
        x_BxTxFxM = standardized(self, log_mel_BxTxFxM, mask_BxT).astype(self.dtype)
        convolution = ConvStage(
            channels=self.channels,
            kernels={"a": (3, 3)},
            dtype=self.dtype,
            axis_name=self.axis_name,
            name="convolution",
        )
        (map_NxHxWxC,) = convolution(
            x_BxTxFxM.reshape(b * t, f, m, 1), mask_BxT.reshape(b * t), train=train
        )
        x_BxTxD = jnp.mean(map_NxHxWxC, axis=1).reshape(b, t, -1)
        x_BxTxD = nn.relu(nn.Dense(self.dense_size, dtype=self.dtype, name="dense")(x_BxTxD))
        dropout = nn.Dropout(self.dropout_rate, deterministic=not train)
        x_BxTxD = dropout(x_BxTxD)
        outputs = []
        for name in ("valence", "arousal"):
            gru = BiGRU(hidden_size=self.hidden_size, dtype=self.dtype, name=f"{name}_gru")
            hidden_BxTxKH = dropout(gru(x_BxTxD, mask_BxT)).astype(jnp.float32)
            outputs.append(jnp.max(nn.Dense(self.pieces, name=f"{name}_head")(hidden_BxTxKH), -1))
        return jnp.stack(outputs, axis=-1)


class CNNBiLSTM(nn.Module):
    """DAMFF without its novelties: a single scale and no fusion: (B, T, 2), float32.

    Not from a paper. Three of DAMFF's blocks with 3 × 3 kernels, as wide as its two branches
    together and, in the last block, as its fused map; then its 1 × 1 convolution, BiLSTM and head.
    Without the join along time a segment has half as many points, so more channels are kept per
    point.

    Args:
      channels: of the three stages.
      squeeze_channels, hidden_size, dropout_rate, dtype, axis_name: as of `DAMFF`.
    """

    channels: StageChannels = (16, 32, 64)
    squeeze_channels: Size = 4
    hidden_size: Size = 48
    dropout_rate: Rate = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(
        self, log_mel_BxTxFxM: jax.Array, mask_BxT: jax.Array, *, train: bool
    ) -> jax.Array:
        b, t, f, m = log_mel_BxTxFxM.shape
        x_BxTxFxM = standardized(self, log_mel_BxTxFxM, mask_BxT).astype(self.dtype)
        stages = MultiScaleBranches(
            channels=self.channels,
            kernels={"a": ((3, 3),) * 3},
            dtype=self.dtype,
            axis_name=self.axis_name,
            name="branches",
        )
        (map_NxHxWxC,) = stages(
            x_BxTxFxM.reshape(b * t, f, m, 1), mask_BxT.reshape(b * t), train=train
        )
        squeeze = nn.Dense(self.squeeze_channels, dtype=self.dtype, name="squeeze")
        x_BxTxD = squeeze(map_NxHxWxC).reshape(b, t, -1)
        return sequence_and_head(
            x_BxTxD,
            mask_BxT,
            hidden_size=self.hidden_size,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            train=train,
        )


class FrameBiLSTM(nn.Module):
    """A BiLSTM over statistics of each segment's frames: (B, T, 2), float32.

    A typical baseline of MediaEval's "Emotion in Music" (2013 to 2015); the details are not from a
    paper: mean and standard deviation of every Mel bin per segment, and their deltas, 4 M features
    in total; a dense layer with ReLU; BiLSTM; linear head.

    Args:
      dense_size: of the layer before the BiLSTM.
      hidden_size, dropout_rate, dtype, axis_name: as of `DAMFF`.
    """

    dense_size: Size = 128
    hidden_size: Size = 64
    dropout_rate: Rate = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(
        self, log_mel_BxTxFxM: jax.Array, mask_BxT: jax.Array, *, train: bool
    ) -> jax.Array:
        x_BxTxFxM = standardized(self, log_mel_BxTxFxM, mask_BxT)
        x_BxTxD = window_statistics(x_BxTxFxM, mask_BxT, 1)
        x_BxTxD = jnp.concatenate([x_BxTxD, deltas(x_BxTxD, mask_BxT)], axis=-1)
        x_BxTxD = nn.relu(nn.Dense(self.dense_size, dtype=self.dtype, name="dense")(x_BxTxD))
        return sequence_and_head(
            x_BxTxD,
            mask_BxT,
            hidden_size=self.hidden_size,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            train=train,
        )


class EmbeddingBiGRU(nn.Module):
    """A BiGRU on a frozen encoder's embeddings instead of the log-Mel: (B, T, 2), float32.

    It shows what other training data is worth: the encoder was trained on many other songs. Not
    from a paper.

    Args:
      hidden_size: GRU units per direction.
      dropout_rate: before and after the recurrence.
      dtype, axis_name: as of `DAMFF`.
    """

    hidden_size: Size = 48
    dropout_rate: Rate = 0.5
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(
        self, embedding_BxTx1xE: jax.Array, mask_BxT: jax.Array, *, train: bool
    ) -> jax.Array:
        x_BxTxE = standardized(self, embedding_BxTx1xE, mask_BxT)[:, :, 0]
        dropout = nn.Dropout(self.dropout_rate, deterministic=not train)
        gru = BiGRU(hidden_size=self.hidden_size, dtype=self.dtype, name="gru")
        hidden_BxTxKH = gru(dropout(x_BxTxE), mask_BxT)
        return nn.Dense(2, name="head")(dropout(hidden_BxTxKH).astype(jnp.float32))
