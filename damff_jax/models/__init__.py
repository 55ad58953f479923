"""Models by name, built from a configuration whose fields are checked."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models import fields
from damff_jax.models.baselines import CNNBiGRU, CNNBiLSTM, EmbeddingBiGRU, FrameBiLSTM
from damff_jax.models.damff import DAMFF
from damff_jax.models.linear import Constant, Ridge

MODELS = {
    "damff": DAMFF,
    "constant": Constant,
    "ridge": Ridge,
    "cnn_bigru": CNNBiGRU,
    "cnn_bilstm": CNNBiLSTM,
    "frame_bilstm": FrameBiLSTM,
    "embedding_bigru": EmbeddingBiGRU,
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create_model(config: Mapping[str, Any], *, dtype: str, axis_name: str | None) -> nn.Module:
    """Builds the model `config["name"]`, with the other entries as its fields.

    Raises:
      ValueError: an unknown name, field or choice, or an invalid value; the message names it.
    """
    values = {field: _tuples(value) for field, value in config.items()}
    name = values.pop("name")
    if name not in MODELS:
        raise ValueError(f"model.name: {name!r}; available: {', '.join(MODELS)}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype: {dtype!r}; available: {', '.join(DTYPES)}")
    fields.check(MODELS[name], values)
    return MODELS[name](dtype=DTYPES[dtype], axis_name=axis_name, **values)


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's configuration with the defaults of the fields that it does not name.

    So a field added later, with a default that changes nothing, does not make another model.
    """
    cls = MODELS.get(config.get("name", ""))
    return {**fields.defaults(cls), **config} if cls else dict(config)


def _tuples(value: Any) -> Any:
    """Lists as tuples: JSON has no tuples, and Linen needs hashable fields."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
