"""DAMFF: multi-scale convolution, dual-attention fusion, BiLSTM.

Source: L. Zhang, X. Yang, Y. Zhang, J. Luo, "Dual Attention-based Multi-scale Feature Fusion
Approach for Dynamic Music Emotion Recognition", ISMIR 2023, pp. 207-214. Letters: B batch,
T segments of 0.5 s, F frames per segment, M Mel bins, C channels, D features, V = 2 (valence,
arousal).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.attention import AttentionFusion, Fusion
from damff_jax.models.branches import MultiScaleBranches
from damff_jax.models.fields import Rate, Size, SizeOrNone, Smoothing, StageChannels, StageKernels
from damff_jax.models.head import SequenceModel, sequence_and_head
from damff_jax.models.inputs import standardized
from damff_jax.models.kernels.convolution import Form


class DAMFF(nn.Module):
    """Log-Mel (B, T, F, M) in dB → valence and arousal (B, T, 2), float32.

    The defaults are the paper's; every ablation is a field.

    Variable collections: `params`; `batch_stats` (of BatchNorm); `input_stats`, the mean and
    standard deviation in dB of every Mel bin over the training split, set by training.

    Args:
      channels, join, convolution: see `MultiScaleBranches`.
      branches: both, or only one; each letter selects the kernels of that name.
      kernels_a, kernels_b: (time, frequency) sizes of the three stages.
      fusion, reduction: see `AttentionFusion`; unused with a single branch. With more than two
        branches, each further one is fused with the result so far.
      squeeze_channels: channels that the 1 × 1 convolution keeps per point.
      context_size: units that describe the crop as a whole, computed from the mean and deviation
        of its segments' features; the sequence model gets them with every segment. 0: none, as in
        the paper.
      sequence: see `sequence_and_head`.
      hidden_size: LSTM units per direction.
      dropout_rate: on the sequence model's input and output; the paper mentions none.
      smoothing: (width, delay) in segments of a moving average over a song's curve; (1, 0) is
        none, as in the paper. Applied by `inference` to the whole curve, not by the module.
      teacher_size: dimensions of a teacher's embeddings, which a layer on the sequence model's
        output predicts in training, sown into the collection `teacher`; 0: none, as in the paper.
      dtype: of the computation; parameters, statistics and the output stay float32.
      axis_name: the device axis over which BatchNorm computes statistics; None for one device.
    """

    channels: StageChannels = (8, 16, 64)
    kernels_a: StageKernels = ((1, 5), (5, 5), (3, 3))
    kernels_b: StageKernels = ((3, 1), (3, 3), (5, 5))
    branches: Literal["ab", "a", "b"] = "ab"
    join: Literal["time", "channel"] = "time"
    convolution: Form = "plain"
    fusion: Fusion = "daff"
    reduction: Size = 4
    squeeze_channels: Size = 1
    context_size: SizeOrNone = 0
    sequence: SequenceModel = "bilstm"
    hidden_size: Size = 48
    dropout_rate: Rate = 0.0
    smoothing: Smoothing = (1, 0)
    teacher_size: SizeOrNone = 0
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(
        self, log_mel_BxTxFxM: jax.Array, mask_BxT: jax.Array, *, train: bool
    ) -> jax.Array:
        b, t, f, m = log_mel_BxTxFxM.shape
        x_BxTxFxM = standardized(self, log_mel_BxTxFxM, mask_BxT).astype(self.dtype)
        mask_N = mask_BxT.reshape(b * t)
        common = {"dtype": self.dtype, "axis_name": self.axis_name}
        maps = MultiScaleBranches(
            channels=self.channels,
            kernels={branch: getattr(self, f"kernels_{branch}") for branch in self.branches},
            join=self.join,
            convolution=self.convolution,
            name="branches",
            **common,
        )(x_BxTxFxM.reshape(b * t, f, m, 1), mask_N, train=train)
        fused_NxHxWxC, *others = maps
        for i, map_NxHxWxC in enumerate(others):
            name = f"fusion_{self.branches[i + 1]}" if i else "fusion"
            fuse = AttentionFusion(
                fusion=self.fusion, reduction=self.reduction, name=name, **common
            )
            fused_NxHxWxC = fuse(fused_NxHxWxC, map_NxHxWxC, mask_N, train=train)

        # A 1 × 1 convolution is a dense layer over the channels.
        squeeze = nn.Dense(self.squeeze_channels, dtype=self.dtype, name="squeeze")
        x_BxTxD = squeeze(fused_NxHxWxC).reshape(b, t, -1)
        if self.context_size:
            context = nn.Dense(self.context_size, dtype=self.dtype, name="context")
            context_BxD = nn.relu(context(_mean_and_deviation(x_BxTxD, mask_BxT)))
            context_BxTxD = jnp.broadcast_to(context_BxD[:, None], (b, t, self.context_size))
            x_BxTxD = jnp.concatenate([x_BxTxD, context_BxTxD], axis=-1)
        return sequence_and_head(
            x_BxTxD,
            mask_BxT,
            sequence=self.sequence,
            hidden_size=self.hidden_size,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            train=train,
            teacher_size=self.teacher_size,
        )


def _mean_and_deviation(x_BxTxD: jax.Array, mask_BxT: jax.Array) -> jax.Array:
    """Mean and deviation over a crop's segments without padding, (B, 2 D)."""
    weight_BxTx1 = (mask_BxT / jnp.maximum(mask_BxT.sum(axis=1, keepdims=True), 1))[..., None]
    weight_BxTx1 = weight_BxTx1.astype(x_BxTxD.dtype)
    mean_Bx1xD = jnp.sum(weight_BxTx1 * x_BxTxD, axis=1, keepdims=True)
    variance_BxD = jnp.sum(weight_BxTx1 * jnp.square(x_BxTxD - mean_Bx1xD), axis=1)
    # The square root's slope is infinite at 0.
    return jnp.concatenate([mean_Bx1xD[:, 0], jnp.sqrt(variance_BxD + 1e-4)], axis=-1)
