"""Damage to bytes, as by a bad disk, a broken transfer or a malicious sender."""

import struct
from typing import NamedTuple

import numpy as np

# Header fields are in the first bytes; the values are extremes of their types.
_HEADER = 160
_EXTREMES = (0, 1, 2, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1_000)


class Mutated(NamedTuple):
    """Changed bytes; `first` is the offset of the first change."""

    content: bytes
    first: int
    what: str


def mutate(content: bytes, rng: np.random.Generator) -> Mutated:
    """One change of a random kind, sometimes two."""
    mutated = _MUTATIONS[rng.integers(len(_MUTATIONS))](content, rng)
    if rng.random() < 0.2 and mutated.content:
        again = _MUTATIONS[rng.integers(len(_MUTATIONS))](mutated.content, rng)
        what = f"{mutated.what}, {again.what}"
        return Mutated(again.content, min(mutated.first, again.first), what)
    return mutated


def _place(n: int, rng: np.random.Generator) -> int:
    """An offset; more often in the header than its length would give."""
    return int(rng.integers(min(n, _HEADER) if rng.random() < 0.4 else n))


def _length(n: int, rng: np.random.Generator) -> int:
    """The length of a range: a few bytes as often as thousands."""
    return int(max(n, 1) ** rng.random())


def _flip(content: bytes, rng: np.random.Generator) -> Mutated:
    changed = bytearray(content)
    places = [_place(len(content), rng) for _ in range(rng.integers(1, 9))]
    for place in places:
        changed[place] ^= 1 << int(rng.integers(8))
    return Mutated(bytes(changed), min(places), f"{len(places)} bits flipped from {min(places)} on")


def _overwrite(content: bytes, rng: np.random.Generator) -> Mutated:
    place, n = _place(len(content), rng), _length(len(content) // 4, rng)
    changed = content[:place] + rng.bytes(n) + content[place + n :]
    return Mutated(changed, place, f"{n} bytes overwritten at {place}")


def _zero(content: bytes, rng: np.random.Generator) -> Mutated:
    place, n = _place(len(content), rng), _length(len(content) // 4, rng)
    end = min(place + n, len(content))
    changed = content[:place] + bytes(end - place) + content[end:]
    return Mutated(changed, place, f"{end - place} bytes zeroed at {place}")


def _insert(content: bytes, rng: np.random.Generator) -> Mutated:
    place, n = _place(len(content), rng), _length(2_000, rng)
    return Mutated(
        content[:place] + rng.bytes(n) + content[place:], place, f"{n} bytes inserted at {place}"
    )


def _repeat(content: bytes, rng: np.random.Generator) -> Mutated:
    place, n = _place(len(content), rng), _length(len(content) // 4, rng)
    changed = content[: place + n] + content[place:]
    return Mutated(changed, min(place + n, len(content)), f"{n} bytes repeated at {place}")


def _delete(content: bytes, rng: np.random.Generator) -> Mutated:
    place, n = _place(len(content), rng), _length(len(content) // 4, rng)
    return Mutated(content[:place] + content[place + n :], place, f"{n} bytes deleted at {place}")


def _truncate(content: bytes, rng: np.random.Generator) -> Mutated:
    place = _place(len(content), rng)
    return Mutated(content[:place], place, f"truncated at {place}")


def _append(content: bytes, rng: np.random.Generator) -> Mutated:
    n = _length(5_000, rng)
    return Mutated(content + rng.bytes(n), len(content), f"{n} bytes appended")


def _edit_header(content: bytes, rng: np.random.Generator) -> Mutated:
    place, letter = int(rng.integers(min(len(content), _HEADER))), "BHI"[rng.integers(3)]
    value = int(_EXTREMES[rng.integers(len(_EXTREMES))])
    order = "<>"[rng.integers(2)]
    field = struct.pack(order + letter, value % 256 ** struct.calcsize(letter))
    changed = content[:place] + field + content[place + len(field) :]
    return Mutated(changed, place, f"field {field.hex()} at {place}")


_MUTATIONS = (
    _flip,
    _flip,
    _overwrite,
    _zero,
    _insert,
    _repeat,
    _delete,
    _truncate,
    _append,
    _edit_header,
    _edit_header,
)
