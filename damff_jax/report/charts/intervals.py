"""A chart of values with their intervals, a row each."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from damff_jax.report.charts.axes import Axis
from damff_jax.report.charts.chart import WIDTH, drawing, words_at


class Interval(NamedTuple):
    """A row of `intervals`: a value, and the ends of its interval if there is one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    css: str = "plain"


def intervals(
    label: str,
    rows: Sequence[Interval],
    axis: Axis,
    *,
    text: Callable[[float], str] | None = None,
    zero: bool = False,
) -> str:
    """A row per value: a dot, a line from end to end of its interval, and the value as text.

    What lies beyond the axis is drawn at its end, and said to be there.

    Args:
      text: of the values; by default like that of the axis.
      zero: whether to draw a line at 0.
    """
    text = text or axis.text
    row_height, top, left = 40, 8, 20
    width, bottom = WIDTH - 2 * left, top + row_height * len(rows)
    parts = []
    for tick in axis.ticks:
        x = left + width * axis.shares(np.array([tick]))[0]
        css = "guide line" if zero and tick == 0 else "grid"
        parts.append(f'<path class="{css}" d="M{x:.1f} {top}V{bottom}"/>')
        parts.append(words_at("mid", x, bottom + 16, axis.text(tick)))
    for i, row in enumerate(rows):
        ends = [row.value if end is None else end for end in (row.low, row.value, row.high)]
        low, x, high = left + width * axis.shares(np.array(ends))
        y = top + row_height * i + 28
        interval = "" if row.low is None else f" [{text(ends[0])}, {text(ends[2])}]"
        value = f"{text(row.value)}{interval}"
        slack = 1e-9 * (axis.high - axis.low)
        is_within = axis.low - slack <= row.value <= axis.high + slack
        name = row.name if is_within else f"{row.name} (beyond the axis)"
        parts.append(f'<path class="grid" d="M{left} {y}h{width}"/>')
        # Names stand above their lines, so that long ones need no margin.
        parts.append(words_at("name", left, y - 9, name))
        parts.append(words_at("end name", WIDTH - left, y - 9, value))
        if row.low is not None:
            parts.append(f'<path class="whisker {row.css}" d="M{low:.1f} {y}H{high:.1f}"/>')
        parts.append(f'<circle class="fill {row.css}" cx="{x:.1f}" cy="{y}" r="4.5"/>')
    parts.append(words_at("mid label", left + width / 2, bottom + 34, axis.label))
    return drawing(label, bottom + 42, parts)
