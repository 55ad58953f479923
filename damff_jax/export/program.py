"""The program that is exported: a trained model with its weights inside.

Letters: B batch, T segments, F frames per segment, M Mel bins, V = 2 (valence, arousal).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from damff_jax.features import FeatureConfig
from damff_jax.prediction.trained import Trained
from damff_jax.training import steps

# The names of the inputs.
INPUTS = ("log_mel", "mask")
OUTPUT = "valence_arousal"


def program(trained: Trained, *, fold: bool = True) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(log_mel (B, T, F, M) float32 in dB, mask (B, T) bool) → (B, T, 2) float32.

    Args:
      fold: whether a compiler may compute with the weights in advance, which rounds differently.
    """

    def predict(log_mel_BxTxFxM: jax.Array, mask_BxT: jax.Array) -> jax.Array:
        variables = jax.tree.map(jnp.asarray, trained.variables)
        if not fold:
            variables = jax.lax.optimization_barrier(variables)
        return steps.eval_step(variables, log_mel_BxTxFxM, mask_BxT, model=trained.model)

    return predict


def shapes(features: FeatureConfig) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """The inputs, for any number of songs B and of segments T."""
    b, t = jax.export.symbolic_shape("B, T")
    f, m = features.frames_per_segment, features.n_mels
    return jax.ShapeDtypeStruct((b, t, f, m), jnp.float32), jax.ShapeDtypeStruct((b, t), bool)
