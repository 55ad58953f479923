"""Types of the models' fields, annotated with checks of their values.

`create_model` checks a configuration against them, so that a model declares its fields and their
valid values in one place.
"""

import dataclasses
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Literal

Kernel = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Check:
    """A check of a field's value; in the error message `complaint` follows the value."""

    passes: Callable[[Any], bool]
    complaint: str


def one_of(names: Collection[str]) -> Check:
    """Checks that a value is one of these names."""
    known = tuple(names)  # A value that is looked up need not be hashable.
    return Check(lambda value: value in known, f"is not one of {', '.join(known)}")


_RESERVED = ("parent", "name", "dtype", "axis_name")


def defaults(cls: type) -> dict[str, Any]:
    """The fields of a model's class that a configuration can set, with their defaults."""
    return {f.name: f.default for f in dataclasses.fields(cls) if f.name not in _RESERVED}


def check(cls: type, fields: dict[str, Any]) -> None:
    """Checks values for the fields of a model's class.

    Raises:
      ValueError: an unknown field or an invalid value; the message names it.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    known = defaults(cls)
    for field, value in fields.items():
        if field not in known:
            raise ValueError(f"model.{field}: no such field; available: {', '.join(sorted(known))}")
        hint = hints[field]
        if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
            choices = ", ".join(typing.get_args(hint))
            raise ValueError(f"model.{field}: {value!r}; available: {choices}")
        for rule in getattr(hint, "__metadata__", ()):
            if not rule.passes(value):
                raise ValueError(f"model.{field}: {value!r} {rule.complaint}")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_smoothing(value: Any) -> bool:
    if not (isinstance(value, tuple) and len(value) == 2 and _is_size(value[0])):
        return False
    width, delay = value
    return width % 2 == 1 and isinstance(delay, int) and 0 <= delay <= width // 2


def _are(passes: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    """A check for a tuple of this length, or of any length above 0, whose items all pass."""
    return lambda value: (
        isinstance(value, tuple)
        and (len(value) == length if length else len(value) > 0)
        and all(map(passes, value))
    )


_THREE_STAGES = "is not three sizes, one per stage"

Size = Annotated[int, Check(_is_size, "is not a positive integer")]
SizeOrNone = Annotated[
    int, Check(lambda value: value == 0 or _is_size(value), "is not an integer, 0 or more")
]
Rate = Annotated[float, Check(lambda value: 0 <= value < 1, "is outside [0, 1)")]
StageChannels = Annotated[Sequence[int], Check(_are(_is_size, 3), _THREE_STAGES)]
StageKernels = Annotated[Sequence[Kernel], Check(_are(_are(_is_size, 2), 3), _THREE_STAGES)]
Windows = Annotated[
    Sequence[int],
    Check(
        _are(lambda value: value == 0 or (_is_size(value) and value % 2 == 1)),
        "are not window sizes: use odd numbers of segments, or 0 for the whole crop",
    ),
]
Smoothing = Annotated[
    tuple[int, int],
    Check(_is_smoothing, "is not (odd width, delay of at most half the width) in segments"),
]
Penalty = Annotated[float, Check(lambda value: value > 0, "is not a positive penalty")]
Penalties = Annotated[
    Sequence[float], Check(_are(lambda value: value > 0), "are not positive penalties")
]
