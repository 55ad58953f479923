"""Closed-form training: models whose best parameters are a formula of the training songs.

The prediction of such a model is linear in its features, and so is the average over overlapping
windows. The features of the training songs are therefore computed window by window and joined just
as predictions are, and the solution is the least-squares fit of what `predict_curves` will return,
apart from its clipping. Sums are float64 and accumulated song by song, so that no song's features
are kept.

Letters: T segments, D features, V = 2 (valence, arousal), Z = D + 2, a row [1, features, label].
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from damff_jax.evaluation.inference import Apply, Windowing, join_windows
from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.models.linear import Constant
from damff_jax.songs import Song


class Solution(NamedTuple):
    """A model's variables by collection, float32, and a description that distinguishes it."""

    description: str
    params: Mapping[str, Any]
    batch_stats: Mapping[str, Any]


# Names of the models that `solutions` trains.
SOLVABLE = ("constant", "ridge")


def feature_step(
    variables: Mapping[str, Any],
    log_mel_BxTxFxM: jax.Array,
    mask_BxT: jax.Array,
    *,
    model: nn.Module,
) -> jax.Array:
    """The model's features (B, T, D), float32; runs as an eval step."""
    features_BxTxD = model.apply(
        variables, log_mel_BxTxFxM, mask_BxT, train=False, features_only=True
    )
    assert isinstance(features_BxTxD, jax.Array)  # No collection is mutable, so none is returned.
    return features_BxTxD


def solutions(
    model: nn.Module,
    features: Apply,
    songs: Iterable[Song],
    *,
    windowing: Windowing,
    batch_size: int,
    validated: bool,
) -> list[Solution]:
    """The candidate solutions, from which validation chooses.

    Args:
      features: `feature_step` with its variables; not called for a constant, which has none.
      songs: the training split.
      windowing, batch_size: those of the predictions.
      validated: whether there are validation songs; without them there is one solution.

    Raises:
      ValueError: a dimension has no labels.
    """
    if isinstance(model, Constant):
        features = _no_features
    moments_VxZxZ = label_moments(features, songs, windowing=windowing, batch_size=batch_size)
    for name, moments_ZxZ in zip(DIMENSIONS, moments_VxZxZ, strict=True):
        if not moments_ZxZ[0, 0]:
            raise ValueError(f"no {name} labels to train on")
    if isinstance(model, Constant):
        mean_V = moments_VxZxZ[:, 0, -1] / moments_VxZxZ[:, 0, 0]
        return [Solution("labels' mean", {"bias": np.float32(mean_V)}, {})]
    penalties = model.penalties if validated else (model.penalty,)
    return list(ridge_solutions(moments_VxZxZ, penalties))


def _no_features(log_mel_NxWxFxM: np.ndarray, mask_NxW: np.ndarray) -> np.ndarray:
    return np.zeros((*mask_NxW.shape, 0))


def label_moments(
    features: Apply, songs: Iterable[Song], *, windowing: Windowing, batch_size: int
) -> np.ndarray:
    """Sums of zᵀz over the labelled segments of each dimension, (V, Z, Z), float64."""
    songs = list(songs)
    joined = join_windows(
        features,
        ([song.log_mel_TxFxM] for song in songs),
        windowing=windowing,
        batch_size=batch_size,
    )
    moments = [0.0, 0.0]
    for song, features_TxD in zip(songs, joined, strict=True):
        ones_Tx1 = np.ones((len(features_TxD), 1))
        for v in range(2):
            z_TxZ = np.hstack([ones_Tx1, features_TxD, song.labels_TxV[:, v : v + 1]])
            z_TxZ = z_TxZ[song.mask_TxV[:, v]]
            moments[v] = moments[v] + z_TxZ.T @ z_TxZ
    return np.stack(moments)


def ridge_solutions(moments_VxZxZ: np.ndarray, penalties: Sequence[float]) -> Iterator[Solution]:
    """The minimum of mean squared error + penalty · ‖W‖² for each penalty; the intercept is free.

    Features are standardised over the labels of both dimensions; a constant one gets no weight. One
    eigendecomposition of their covariance serves all penalties.
    """
    mean_D, cov_DxD, _, _ = _covariances(np.sum(moments_VxZxZ, axis=0))
    var_D = np.diag(cov_DxD)
    # The computed variance of a constant is not exactly 0, because of rounding.
    varies_D = var_D > 1e-10 * (var_D + np.square(mean_D))
    std_D = np.where(varies_D, np.sqrt(np.where(varies_D, var_D, 1.0)), 1.0)

    by_dimension = []
    for moments_ZxZ in moments_VxZxZ:
        own_mean_D, cov_DxD, label_cov_D, label_mean = _covariances(moments_ZxZ)
        scale_D = varies_D / std_D
        values_D, vectors_DxD = np.linalg.eigh(cov_DxD * scale_D[:, None] * scale_D)
        along_D = vectors_DxD.T @ (label_cov_D * scale_D)
        offset_D = (own_mean_D - mean_D) / std_D
        by_dimension.append((values_D, vectors_DxD, along_D, offset_D, label_mean))

    for penalty in penalties:
        kernel, bias = [], []
        for values_D, vectors_DxD, along_D, offset_D, label_mean in by_dimension:
            kernel.append(vectors_DxD @ (along_D / (np.maximum(values_D, 0) + penalty)))
            bias.append(label_mean - offset_D @ kernel[-1])
        yield Solution(
            f"penalty {penalty:g}",
            {
                "head": {
                    "kernel": np.asarray(kernel, np.float32).T,
                    "bias": np.asarray(bias, np.float32),
                }
            },
            {"mean": np.float32(mean_D), "std": np.float32(std_D)},
        )


def _covariances(moments_ZxZ: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mean and covariance of the features, their covariance with the label, and its mean."""
    moments_ZxZ = moments_ZxZ / moments_ZxZ[0, 0]
    mean_Z = moments_ZxZ[0]
    cov_ZxZ = moments_ZxZ - np.outer(mean_Z, mean_Z)
    return mean_Z[1:-1], cov_ZxZ[1:-1, 1:-1], cov_ZxZ[1:-1, -1], mean_Z[-1]
