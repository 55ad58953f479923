"""Audacity's label track: a label for every stretch of the song in one quadrant.

A line is start, end and label, separated by tabs, with times in seconds. Of every segment a label
would be unreadable; the values are in the other formats.
"""

import itertools
from typing import TYPE_CHECKING

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report.quadrants import QUADRANTS

if TYPE_CHECKING:
    from damff_jax.report.curve import Curve

_WORDS = {signs: words for words, signs in QUADRANTS.items()}


def text(curve: "Curve") -> str:
    """The content of a label track, with the mean values of each stretch."""
    values_TxV = curve.values
    quadrants = [_WORDS[bool(v >= 0), bool(a >= 0)] for v, a in values_TxV]
    lines, start = [], 0
    for quadrant, members in itertools.groupby(quadrants):
        stop = start + len(list(members))
        valence, arousal = np.mean(values_TxV[start:stop], axis=0)
        begin_s, end_s = start * SEGMENT_SECONDS, stop * SEGMENT_SECONDS
        label = f"{quadrant} (valence {valence:+.2f}, arousal {arousal:+.2f})"
        lines.append(f"{begin_s:.6f}\t{end_s:.6f}\t{label}\n")
        start = stop
    return "".join(lines)
