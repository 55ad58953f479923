"""The baselines with a closed-form solution, see `damff_jax.training.closed_form`.

Both compute in float32 whatever the dtype; `axis_name` exists only for the common interface.
Letters: B batch, T segments, F frames, M Mel bins, D features, V = 2 (valence, arousal).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.fields import Penalties, Penalty, Windows
from damff_jax.models.inputs import standardized, window_statistics


class Constant(nn.Module):
    """The mean of the training labels, whatever the input: (B, T, 2), float32."""

    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(
        self, log_mel_BxTxFxM: jax.Array, mask_BxT: jax.Array, *, train: bool
    ) -> jax.Array:
        bias_V = self.param("bias", nn.initializers.zeros, (2,))
        return jnp.broadcast_to(bias_V, (*mask_BxT.shape, 2))


class Ridge(nn.Module):
    """A linear map of the log-Mel's statistics: `W (f − mean) / std + b`: (B, T, 2), float32.

    The features f are the mean and standard deviation of every Mel bin over windows around each
    segment; with the default windows there are 8 M features.

    Variable collections: `params`, W and b; `batch_stats`, mean and standard deviation of the
    features over the training labels; `input_stats`, as in all models.

    Args:
      windows: sizes in segments, odd; 0 is the whole crop.
      penalties: candidates, tried in this order; the one with the best validation score is kept.
        The objective is mean squared error + penalty · ‖W‖².
      penalty: used if there are no validation songs.
    """

    windows: Windows = (1, 7, 21, 0)
    penalties: Penalties = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    penalty: Penalty = 1.0
    dtype: Any = jnp.float32
    axis_name: str | None = "batch"

    @nn.compact
    def __call__(
        self,
        log_mel_BxTxFxM: jax.Array,
        mask_BxT: jax.Array,
        *,
        train: bool,
        features_only: bool = False,
    ) -> jax.Array:
        """Returns the prediction, or f (B, T, D) itself."""
        x_BxTxFxM = standardized(self, log_mel_BxTxFxM, mask_BxT)
        features_BxTxD = jnp.concatenate(
            [window_statistics(x_BxTxFxM, mask_BxT, window) for window in self.windows], axis=-1
        )
        if features_only:
            return features_BxTxD
        shape = features_BxTxD.shape[-1:]
        mean_D = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        std_D = self.variable("batch_stats", "std", jnp.ones, shape).value
        return nn.Dense(2, name="head")((features_BxTxD - mean_D) / std_D)
