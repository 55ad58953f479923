"""Calibration: gives a trained model's curves the mean and the spread of the training labels.

Because of dropout, masks and mixed crops, the range of a model's output differs between training
and prediction. CCC punishes a wrong range as much as a wrong shape, so it is corrected once at the
end of training, by changing only the head's weights. Not from the paper.
Letters: D features, V = 2 (valence, arousal).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS, Curve
from damff_jax.training.train_state import TrainState


def scale_and_shift(curves: Mapping[str, Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift (V,) that give predictions the mean and deviation of their labels.

    The scale is 1 where the prediction or the label is constant.
    """
    scale_V, shift_V = np.ones(2), np.zeros(2)
    for v in range(2):
        prediction, truth = (
            np.concatenate([curve[i][curve.mask_TxV[:, v], v] for curve in curves.values()])
            for i in range(2)
        )
        if not len(truth):
            continue
        if prediction.std() > 1e-6 and truth.std() > 1e-6:
            scale_V[v] = truth.std(dtype=np.float64) / prediction.std(dtype=np.float64)
        mean, wanted = prediction.mean(dtype=np.float64), truth.mean(dtype=np.float64)
        shift_V[v] = wanted - scale_V[v] * mean
    return scale_V, shift_V


def rescale_head(state: TrainState, scale_V: np.ndarray, shift_V: np.ndarray) -> TrainState:
    """The state whose predictions are `scale_V · prediction + shift_V`.

    A model ends in a linear layer `head`, or in one per dimension, `valence_head` and
    `arousal_head`, whose largest output is the prediction.
    """

    def rescaled(params: Mapping[str, Any]) -> dict[str, Any]:
        if "head" in params:
            return {**params, "head": _rescaled(params["head"], scale_V, shift_V)}
        names = [f"{name}_head" for name in DIMENSIONS]
        heads = zip(names, scale_V, shift_V, strict=True)
        return {**params, **{name: _rescaled(params[name], *values) for name, *values in heads}}

    averages = state.averages
    if averages is not None:
        averages = {**averages, "params": rescaled(averages["params"])}
    return state.replace(params=rescaled(state.params), averages=averages)


def _rescaled(head: Mapping[str, jax.Array], scale: Any, shift: Any) -> dict[str, jax.Array]:
    new = {
        "kernel": head["kernel"] * jnp.float32(scale),
        "bias": head["bias"] * jnp.float32(scale) + jnp.float32(shift),
    }
    return {name: jax.device_put(x, head[name].sharding) for name, x in new.items()}
