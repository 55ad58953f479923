"""JAMS, the JSON Annotated Music Specification: an annotation in the namespace `mood_thayer`.

E. J. Humphrey, J. Salamon, O. Nieto, J. Forsyth, R. M. Bittner, J. P. Bello, "JAMS: A JSON
Annotated Music Specification for Reproducible MIR Research", ISMIR 2014.
"""

import json
from typing import TYPE_CHECKING, Any

import damff_jax
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report.formats.json import rounded

if TYPE_CHECKING:
    from damff_jax.report.curve import Curve

_VERSION = "0.3.5"  # Of the specification's schema.
NAMESPACE = "mood_thayer"
_RULES = (
    "An observation spans a segment of 0.5 s; its value is [valence, arousal] in [-1, 1]. "
    "Confidence is 1 minus half the width of the band of expected ratings, averaged over both."
)


def text(curve: "Curve") -> str:
    """The content of a JAMS file, which the library `jams` validates."""
    content = {
        "file_metadata": {
            "title": curve.name or curve.title,
            "artist": curve.artist,
            "release": "",
            "duration": curve.duration,
            "identifiers": {},
            "jams_version": _VERSION,
        },
        "annotations": [_annotation(curve)],
        "sandbox": {"source": curve.title},
    }
    return json.dumps(content, allow_nan=False)


def _annotation(curve: "Curve") -> dict[str, Any]:
    sandbox: dict[str, Any] = {
        "lag_s": curve.lag_s,
        "unlikeness": curve.unlikeness,
        "remarks": list(curve.remarks),
    }
    confidences: list[float | None] = [None] * len(curve)
    if curve.band is not None:
        low_TxV, high_TxV = curve.band.low_TxV, curve.band.high_TxV
        sandbox["band"] = {
            "level": curve.band.level,
            "low": rounded(low_TxV),
            "high": rounded(high_TxV),
        }
        confidences = (1 - (high_TxV - low_TxV).mean(axis=1) / 2).round(6).tolist()
    return {
        "namespace": NAMESPACE,
        "time": 0.0,
        "duration": curve.duration,
        "data": [
            {"time": time, "duration": SEGMENT_SECONDS, "value": value, "confidence": confidence}
            for time, value, confidence in zip(
                curve.times.tolist(), rounded(curve.values), confidences, strict=True
            )
        ],
        "annotation_metadata": {
            "curator": {"name": "", "email": ""},
            "annotator": {"model": curve.model},
            "version": damff_jax.__version__,
            "corpus": "",
            "annotation_tools": f"damff_jax {damff_jax.__version__}",
            "annotation_rules": _RULES,
            "validation": "",
            "data_source": "program",
        },
        "sandbox": sandbox,
    }
