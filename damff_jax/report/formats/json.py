"""JSON: a curve and everything that is known about it."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from damff_jax.features import SEGMENT_SECONDS

if TYPE_CHECKING:
    from damff_jax.report.curve import Curve


def text(curve: "Curve") -> str:
    """The content of a JSON file."""
    return json.dumps(as_dict(curve), allow_nan=False)


def as_dict(curve: "Curve") -> dict[str, Any]:
    """The object that the file holds."""
    return {
        "source": curve.title,
        "title": curve.name or None,
        "artist": curve.artist or None,
        "model": curve.model,
        "names": ["valence", "arousal"],
        "scale": [-1, 1],
        "hop_s": SEGMENT_SECONDS,
        "time_origin": "start of the file; a time is the start of its segment",
        "lag_s": curve.lag_s,
        "unlikeness": curve.unlikeness,
        "remarks": list(curve.remarks),
        "time_s": curve.times.tolist(),
        "values": rounded(curve.values),
        "band": curve.band
        and {
            "level": curve.band.level,
            "low": rounded(curve.band.low_TxV),
            "high": rounded(curve.band.high_TxV),
        },
    }


def rounded(x_TxV: np.ndarray) -> list[list[float]]:
    """Rows of numbers with six decimals, as in the CSV."""
    return [[round(float(x), 6) for x in row] for row in x_TxV]
