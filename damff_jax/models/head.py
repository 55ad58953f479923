"""The end of DAMFF and its baselines: a sequence model and a linear layer.

Letters: B batch, T segments, D features, V = 2 (valence, arousal).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.kernels.lstm import LSTM

SequenceModel = Literal["bilstm", "lstm", "none"]


class TeacherHead(nn.Module):
    """Predicts a teacher's embeddings (B, T, E), float32, into the collection `teacher`.

    That collection is mutable only in training; otherwise this computes nothing.
    """

    size: int

    @nn.compact
    def __call__(self, x_BxTxD: jax.Array) -> None:
        dense = nn.Dense(self.size, dtype=jnp.float32, name="dense")
        self.sow("teacher", "prediction", dense(x_BxTxD.astype(jnp.float32)))


def sequence_and_head(
    x_BxTxD: jax.Array,
    mask_BxT: jax.Array,
    *,
    sequence: SequenceModel = "bilstm",
    hidden_size: int,
    dropout_rate: float,
    dtype: Any,
    train: bool,
    teacher_size: int = 0,
) -> jax.Array:
    """Returns (B, T, 2), float32. The layers become the calling module's `sequence` and `head`.

    Args:
      sequence: 'bilstm', 'lstm' (forward in time only) or 'none'.
      dropout_rate: on the sequence model's input and output.
      teacher_size: size of the `TeacherHead`, which becomes the layer `teacher`; 0: none.
    """
    dropout = nn.Dropout(dropout_rate, deterministic=not train)
    if sequence != "none":
        x_BxTxD = LSTM(
            hidden_size=hidden_size,
            bidirectional=sequence == "bilstm",
            dtype=dtype,
            name="sequence",
        )(dropout(x_BxTxD), mask_BxT)
    if teacher_size:
        TeacherHead(teacher_size, name="teacher")(x_BxTxD)
    head = nn.Dense(2, dtype=jnp.float32, name="head")
    return head(dropout(x_BxTxD).astype(jnp.float32))
