"""Axes of charts: a range, ticks at round numbers, and their text."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np

from damff_jax.report.text import clock, number


@dataclasses.dataclass(frozen=True)
class Axis:
    """A range of values, linear or logarithmic, and the ticks in it."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    text: Callable[[float], str] = number
    is_log: bool = False

    def shares(self, values: np.ndarray) -> np.ndarray:
        """Where values lie: 0 at the low end, 1 at the high one; values beyond are at the end."""
        values, low, high = np.asarray(values, float), self.low, self.high
        if self.is_log:
            values = np.log10(np.where(values > 0, values, self.low))
            low, high = math.log10(low), math.log10(high)
        return np.clip((values - low) / (high - low), 0.0, 1.0)


def linear(
    values: Iterable[float],
    label: str,
    *,
    n_ticks: int = 5,
    text: Callable[[float], str] = number,
) -> Axis:
    """An axis from the round number below the finite values to that above them."""
    finite = [x for x in map(float, values) if math.isfinite(x)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    # Less is a rounding error, as of a constant's CCC.
    if high - low < 1e-9:
        reach = abs(low) / 2 if abs(low) > 1e-9 else 0.5
        low, high = low - reach, high + reach
    step = _round_step((high - low) / n_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Axis(label, ticks[0], ticks[-1], ticks, text)


def logarithmic(values: Iterable[float], label: str) -> Axis:
    """An axis of powers of ten around the positive values, with ticks at 1, 2 and 5 if few."""
    positive = [x for x in map(float, values) if 0 < x < math.inf] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    high = max(high, low + 1)
    every = -(-(high - low) // 5)
    factors = (1, 2, 5) if high - low < 2 else (1,)
    ticks = [f * 10.0**power for power in range(low, high + 1, every) for f in factors]
    inside = tuple(tick for tick in ticks if tick <= 10.0**high * (1 + 1e-9))
    return Axis(label, 10.0**low, 10.0**high, inside, is_log=True)


def scale(label: str) -> Axis:
    """The scale of valence and arousal."""
    return Axis(label, -1.0, 1.0, (-1.0, -0.5, 0.0, 0.5, 1.0))


def time(low: float, high: float, label: str = "time") -> Axis:
    """Seconds, as minutes and seconds at round times."""
    units = "h:min:s" if high >= 3600 else "min:s"
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 36_000, 360_000)
    high = max(high, low + 0.5)
    step = next((s for s in steps if (high - low) / s <= 6), steps[-1])
    first = math.ceil(low / step)
    ticks = tuple(float(i * step) for i in range(first, math.floor(high / step) + 1))
    return Axis(f"{label} ({units})", low, high, ticks, clock)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough * (1 - 1e-9))
