"""Training losses over all devices' crops: masked squared error and 1 − CCC.

Every sum runs over all devices (`psum`) before the division, so that the loss is that of the
global batch, whatever the number of devices; a mean of per-device CCCs would be a different
quantity. The gradients of such a loss are averaged over the devices (`pmean`).

Letters: B crops, T segments, V = 2 (valence, arousal).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from damff_jax.evaluation.metrics import DIMENSIONS

# A smaller variance is that of a constant, whose concordance is undefined.
_TINY = 1e-12

TERMS = ("mse", "ccc_pooled", "ccc_per_crop", "ccc_within")
# The loss on a teacher's embeddings instead of the labels.
TEACHER = "teacher"


def mixture(
    prediction_BxTxV: jax.Array,
    truth_BxTxV: jax.Array,
    mask_BxTxV: jax.Array,
    weights: Mapping[str, float],
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Σ weight · term over `TERMS`; scalar.

    Args:
      prediction_BxTxV, truth_BxTxV: float32.
      mask_BxTxV: true where there is a label.
      weights: by term; terms of weight 0 are not computed, and a teacher's is ignored here.
      axis_name: the device axis to sum over.

    Raises:
      ValueError: invalid weights, see `check_weights`.
    """
    check_weights(weights)
    args = prediction_BxTxV, truth_BxTxV, mask_BxTxV
    loss = jnp.zeros(())
    for term, weight in weights.items():
        if not weight or term == TEACHER:
            continue
        if term == "mse":
            value = mean_squared_error(*args, axis_name=axis_name)
        else:
            ccc = {
                "ccc_pooled": ccc_pooled,
                "ccc_per_crop": ccc_per_crop,
                "ccc_within": ccc_within,
            }[term]
            value = 1 - jnp.mean(ccc(*args, axis_name=axis_name))
        loss = loss + weight * value
    return loss


def of_summary(summary: Mapping[str, Any], weights: Mapping[str, float]) -> float:
    """The same mixture of whole songs, from their scores: the loss of a validation.

    A song takes the place of a crop. The mean over labels is that of the two dimensions' means, and
    a teacher's term is left out, because there are no embeddings of validation songs.

    Args:
      summary: see `evaluation.metrics.summarize`.
    """
    terms = {
        "mse": [summary[name]["pooled"]["rmse"] ** 2 for name in DIMENSIONS],
        "ccc_pooled": [1 - summary[name]["pooled"]["ccc"] for name in DIMENSIONS],
        "ccc_per_crop": [1 - summary[name]["per_song"]["ccc"] for name in DIMENSIONS],
        "ccc_within": [1 - summary[name]["within_song"]["ccc"] for name in DIMENSIONS],
    }
    return sum(weights.get(term, 0.0) * sum(x) / len(x) for term, x in terms.items())


def check_weights(weights: Mapping[str, float]) -> None:
    """Checks the weights of a mixture.

    Raises:
      ValueError: an unknown term, a weight that is negative or not finite, or no positive weight
        other than the teacher's.
    """
    known = set(weights) <= {*TERMS, TEACHER}
    positive = any(weights.get(term) for term in TERMS)
    if not known or not all(0 <= x < float("inf") for x in weights.values()) or not positive:
        raise ValueError(f"loss weights {dict(weights)}: use positive ones of {', '.join(TERMS)}")


def mean_squared_error(
    prediction_BxTxV: jax.Array,
    truth_BxTxV: jax.Array,
    mask_BxTxV: jax.Array,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Mean over all labels of all devices; scalar, 0 without labels.

    The arrays may have any shape that all three share.
    """
    error = jnp.where(mask_BxTxV, prediction_BxTxV - truth_BxTxV, 0.0)
    total, n = _psum((jnp.sum(error**2), jnp.sum(mask_BxTxV, dtype=jnp.float32)), axis_name)
    return total / jnp.maximum(n, 1.0)


def ccc_pooled(
    prediction_BxTxV: jax.Array,
    truth_BxTxV: jax.Array,
    mask_BxTxV: jax.Array,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Lin's concordance correlation coefficient over all labels of all devices; (V,).

    CCC = 2 cov(x, y) / (var x + var y + (mean x − mean y)²), with population moments (Lin, 1989).
    A constant series, or one without labels, scores 0.
    """
    return _ccc(prediction_BxTxV, truth_BxTxV, mask_BxTxV, axes=(0, 1), axis_name=axis_name)


def ccc_per_crop(
    prediction_BxTxV: jax.Array,
    truth_BxTxV: jax.Array,
    mask_BxTxV: jax.Array,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Mean of the crops' own CCCs, over all crops with labels of all devices; (V,)."""
    ccc_BxV = _ccc(prediction_BxTxV, truth_BxTxV, mask_BxTxV, axes=(1,), axis_name=None)
    labelled_BxV = jnp.any(mask_BxTxV, axis=1).astype(jnp.float32)
    sums = jnp.sum(ccc_BxV * labelled_BxV, axis=0), jnp.sum(labelled_BxV, axis=0)
    total_V, n_V = _psum(sums, axis_name)
    return total_V / jnp.maximum(n_V, 1.0)


def ccc_within(
    prediction_BxTxV: jax.Array,
    truth_BxTxV: jax.Array,
    mask_BxTxV: jax.Array,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Pooled CCC after each crop's mean is subtracted from both: the movement within crops; (V,).

    Not from the paper. The pooled CCC depends mostly on the songs' levels, and a crop's own CCC on
    whether the crop moves at all; here crops count by how much they move.
    """
    mask = mask_BxTxV
    n_Bx1xV = jnp.maximum(jnp.sum(mask, axis=1, keepdims=True, dtype=jnp.float32), 1.0)

    def centred(x_BxTxV):
        x_BxTxV = jnp.where(mask, x_BxTxV, 0.0)
        return x_BxTxV - jnp.sum(x_BxTxV, axis=1, keepdims=True) / n_Bx1xV

    x, y = centred(prediction_BxTxV), centred(truth_BxTxV)
    return _ccc(x, y, mask, axes=(0, 1), axis_name=axis_name)


def _ccc(x, y, mask, *, axes, axis_name):
    weight = mask.astype(jnp.float32)
    x, y = jnp.where(mask, x, 0.0), jnp.where(mask, y, 0.0)
    # Two passes: moments about the mean keep their precision, which E[x²] − E[x]² would lose.
    n, sum_x, sum_y = _psum(
        tuple(jnp.sum(a, axis=axes, keepdims=True) for a in (weight, x, y)), axis_name
    )
    n = jnp.maximum(n, 1.0)
    mean_x, mean_y = sum_x / n, sum_y / n
    dx, dy = weight * (x - mean_x), weight * (y - mean_y)
    sums = _psum(
        tuple(jnp.sum(a, axis=axes, keepdims=True) for a in (dx * dx, dy * dy, dx * dy)), axis_name
    )
    var_x, var_y, cov = (a / n for a in sums)
    denominator = var_x + var_y + (mean_x - mean_y) ** 2
    # Written so that a NaN counts as defined, and shows in the loss.
    defined = ~(denominator <= _TINY)
    # The unused quotient must be finite too, or its gradient would be NaN.
    return jnp.where(defined, 2 * cov / jnp.where(defined, denominator, 1.0), 0.0).squeeze(axes)


def _psum(values, axis_name):
    return values if axis_name is None else jax.lax.psum(values, axis_name)
