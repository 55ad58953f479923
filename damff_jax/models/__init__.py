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
    return cls(dtype=DTYPES[dtype], axis_name=axis_name, **fields)


def _tuples(value: Any) -> Any:
    """Lists as tuples, since JSON has no tuples and Linen wants fields that can be hashed."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
