"""CSV: a row per segment, with the time of its start."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from damff_jax.report.curve import Band, Curve

HEADER = ("time_s", "valence", "arousal")
LIMITS = ("valence_low", "valence_high", "arousal_low", "arousal_high")


def text(curve: "Curve", *, band: bool = False) -> str:
    """The content of a CSV file; times in s, values in [-1, 1].

    Args:
      band: adds the columns `LIMITS`.

    Raises:
      ValueError: the band is wanted, and the curve has none.
    """
    names, columns = list(HEADER), [curve.valence, curve.arousal]
    if band:
        if curve.band is None:
            raise ValueError(f"{curve.source}: no band, because the weights have none")
        more = limits(curve.band)
        names += more
        columns += more.values()
    rows = zip(curve.times, *columns, strict=True)
    lines = (f"{time:.1f}," + ",".join(f"{x:.6f}" for x in values) for time, *values in rows)
    return "\n".join([",".join(names), *lines]) + "\n"


def limits(band: "Band") -> dict[str, np.ndarray]:
    """The band's limits (T,) by the name of their column."""
    columns = (x_TxV[:, v] for v in range(2) for x_TxV in (band.low_TxV, band.high_TxV))
    return dict(zip(LIMITS, columns, strict=True))
