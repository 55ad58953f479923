"""Models by name, built from a configuration in which a typo is an error."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from damff_jax.models.damff import DAMFF

MODELS = {"damff": DAMFF}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create_model(config: Mapping[str, Any], *, dtype: str, axis_name: str | None) -> nn.Module:
    """Builds `config["name"]` with the other entries as its fields.

    Raises:
      ValueError: an unknown name, field or choice, naming it.
    """
    fields = dict(config)
    name = fields.pop("name")
    if name not in MODELS:
        raise ValueError(f"model.name: {name!r}; there are {', '.join(MODELS)}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype: {dtype!r}; there are {', '.join(DTYPES)}")
    cls = MODELS[name]
    reserved = {"parent", "name", "dtype", "axis_name"}
    known = {field.name for field in dataclasses.fields(cls)} - reserved
    hints = typing.get_type_hints(cls)
    for field, value in fields.items():
        if field not in known:
            raise ValueError(f"model.{field}: no such field; there are {', '.join(sorted(known))}")
        choices = typing.get_args(hints[field])
        if typing.get_origin(hints[field]) is typing.Literal and value not in choices:
            raise ValueError(f"model.{field}: {value!r}; there are {', '.join(choices)}")
    fields = {field: _tuples(value) for field, value in fields.items()}
    _check_sizes(fields)
    return cls(dtype=DTYPES[dtype], axis_name=axis_name, **fields)


def _check_sizes(fields: Mapping[str, Any]) -> None:
    for field in ("reduction", "squeeze_channels", "hidden_size"):
        if field in fields and not _is_size(fields[field]):
            raise ValueError(f"model.{field}: {fields[field]!r} is no positive whole number")
    for field in ("channels", "kernels_a", "kernels_b"):
        value = fields.get(field, (1, 1, 1) if field == "channels" else ((1, 1),) * 3)
        sizes = value if field == "channels" else sum(value, ())
        if len(value) != 3 or not all(map(_is_size, sizes)):
            raise ValueError(f"model.{field}: {value!r} does not give three stages their sizes")
    if not 0 <= fields.get("dropout_rate", 0.0) < 1:
        raise ValueError(f"model.dropout_rate: {fields['dropout_rate']} is outside [0, 1)")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _tuples(value: Any) -> Any:
    """Lists as tuples, since JSON has no tuples and Linen wants fields that can be hashed."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
