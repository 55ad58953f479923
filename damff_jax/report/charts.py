"""Charts as inline SVG, without a library: axes, and marks that are drawn on them.

Colours and fonts are the page's, by CSS classes such as `valence`; see `report.css`. A chart is as
wide as a phone, so that its text is readable there.
"""

import dataclasses
import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from damff_jax.report.axes import Axis

WIDTH, HEIGHT = 420, 280
# Of the frame: left, top, right, bottom.
_PAD = (58, 30, 14, 44)
# Opacities of the cells of a density.
_LEVELS = (0.12, 0.26, 0.42, 0.58, 0.76, 1.0)


class Interval(NamedTuple):
    """A row of `intervals`: a value, and the ends of its interval if there is one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    css: str = "plain"


@dataclasses.dataclass
class Chart:
    """A frame with two axes, to which marks are added one after another.

    Args:
      label: the text alternative: what the chart shows.
    """

    label: str
    x: Axis
    y: Axis
    height: int = HEIGHT
    _marks: list[str] = dataclasses.field(default_factory=list)
    _legend: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def line(
        self, x_N: np.ndarray, y_N: np.ndarray, css: str, *, name: str = "", dots: bool = False
    ) -> None:
        """Joins points; a NaN interrupts the line, and a point between two of them is a dot."""
        points = self._places(x_N, y_N)
        pieces = _pieces(points)
        for piece in pieces:
            if len(piece) > 1:
                path = "L".join(f"{x:.1f} {y:.1f}" for x, y in piece)
                self._marks.append(f'<path class="line {css}" d="M{path}"/>')
        kept = points if dots else np.array([p[0] for p in pieces if len(p) == 1])
        if len(kept):
            self._marks.append(f'<path class="dots {css}" d="{_dots(kept)}"/>')
        self._name(name, f"line {css}")

    def points(self, x_N: np.ndarray, y_N: np.ndarray, css: str, *, name: str = "") -> None:
        """A dot per point."""
        points = self._places(x_N, y_N)
        self._marks.append(f'<path class="dots {css}" d="{_dots(points)}"/>')
        self._name(name, f"dots {css}")

    def density(self, counts_XxY: np.ndarray, css: str, *, name: str = "") -> None:
        """Cells of equal size over the whole frame, the darker the more they count.

        The opacity is proportional to the square root of the count.
        """
        shares_XxY = np.sqrt(counts_XxY / max(counts_XxY.max(), 1))
        level_XxY = np.ceil(shares_XxY * len(_LEVELS)).astype(int)
        left, top, width, height = self._frame()
        n_x, n_y = counts_XxY.shape
        step_x, step_y = width / n_x, height / n_y
        for level, opacity in enumerate(_LEVELS, start=1):
            cells = [
                f"M{left + i * step_x:.1f} {top + (n_y - 1 - j) * step_y:.1f}"
                f"h{step_x:.1f}v{step_y:.1f}h{-step_x:.1f}z"
                for i, j in np.argwhere(level_XxY == level)
            ]
            if cells:
                path = "".join(cells)
                self._marks.append(f'<path class="fill {css}" opacity="{opacity}" d="{path}"/>')
        self._name(name, f"fill {css}")

    def bars(self, edges: np.ndarray, counts_N: np.ndarray, css: str, *, name: str = "") -> None:
        """A histogram: a bar between each two edges, from 0."""
        x = self._x(edges)
        bottom, y_N = self._y(np.zeros(1))[0], self._y(counts_N)
        bars = [
            f"M{x[i] + 0.5:.1f} {bottom:.1f}V{y:.1f}H{x[i + 1] - 0.5:.1f}V{bottom:.1f}z"
            for i, y in enumerate(y_N)
            if counts_N[i] > 0
        ]
        if bars:
            self._marks.append(f'<path class="fill {css}" d="{"".join(bars)}"/>')
        self._name(name, f"fill {css}")

    def vertical(self, x: float, css: str = "guide", *, name: str = "") -> None:
        """A line across the frame at one x."""
        _, top, _, height = self._frame()
        place = self._x(np.array([x]))[0]
        self._marks.append(f'<path class="line {css}" d="M{place:.1f} {top}v{height}"/>')
        self._name(name, f"line {css}")

    def cross(self, css: str = "guide") -> None:
        """Lines through (0, 0), which divide the frame into quadrants."""
        left, _, width, _ = self._frame()
        self.vertical(0.0, css)
        place = self._y(np.zeros(1))[0]
        self._marks.append(f'<path class="line {css}" d="M{left} {place:.1f}h{width}"/>')

    def diagonal(self, css: str = "guide", *, name: str = "") -> None:
        """Where x and y are equal, if both axes have one range."""
        ends = np.array([self.x.low, self.x.high])
        self.line(ends, ends, css, name=name)

    def words(self, x: float, y: float, text: str) -> None:
        """A word in the frame, centred on a point."""
        ((place_x, place_y),) = self._places(np.array([x]), np.array([y]))
        self._marks.append(
            f'<text class="word" x="{place_x:.1f}" y="{place_y:.1f}">{html.escape(text)}</text>'
        )

    def svg(self) -> str:
        body = [*self._axes(), *self._marks, *self._legend_row()]
        return _svg(self.label, WIDTH, self.height, body)

    def _name(self, name: str, css: str) -> None:
        if name:
            self._legend.append((name, css))

    def _frame(self) -> tuple[int, int, int, int]:
        left, top, right, bottom = _PAD
        return left, top, WIDTH - left - right, self.height - top - bottom

    def _x(self, values: np.ndarray) -> np.ndarray:
        left, _, width, _ = self._frame()
        return left + width * self.x.shares(values)

    def _y(self, values: np.ndarray) -> np.ndarray:
        _, top, _, height = self._frame()
        return top + height * (1 - self.y.shares(values))

    def _places(self, x_N: np.ndarray, y_N: np.ndarray) -> np.ndarray:
        return np.stack([self._x(np.asarray(x_N)), self._y(np.asarray(y_N))], axis=-1)

    def _axes(self) -> list[str]:
        left, top, width, height = self._frame()
        bottom, parts = top + height, []
        for value, place in zip(self.y.ticks, self._y(np.array(self.y.ticks)), strict=True):
            parts.append(f'<path class="grid" d="M{left} {place:.1f}h{width}"/>')
            text = html.escape(self.y.text(value))
            parts.append(f'<text class="end" x="{left - 6}" y="{place + 4:.1f}">{text}</text>')
        for value, place in zip(self.x.ticks, self._x(np.array(self.x.ticks)), strict=True):
            parts.append(f'<path class="grid" d="M{place:.1f} {top}v{height}"/>')
            text = html.escape(self.x.text(value))
            parts.append(f'<text class="mid" x="{place:.1f}" y="{bottom + 16}">{text}</text>')
        parts.append(_text("mid label", left + width / 2, self.height - 8, self.x.label))
        middle = top + height / 2
        parts.append(
            f'<text class="mid label" transform="translate(10 {middle:.0f}) rotate(-90)">'
            f"{html.escape(self.y.label)}</text>"
        )
        return parts

    def _legend_row(self) -> list[str]:
        parts, x = [], float(_PAD[0])
        for name, css in self._legend:
            if css.startswith("line"):
                mark = f'<path class="{css}" d="M{x:.0f} 15h16"/>'
            elif css.startswith("dots"):
                mark = f'<path class="{css}" d="M{x + 8:.0f} 15h0"/>'
            else:
                mark = f'<path class="{css}" d="M{x + 3:.0f} 10h10v10h-10z"/>'
            parts += [mark, _text("legend", x + 21, 19, name)]
            x += 34 + 6.4 * len(name)
        return parts


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
        parts.append(_text("mid", x, bottom + 16, axis.text(tick)))
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
        parts.append(_text("name", left, y - 9, name))
        parts.append(_text("end name", WIDTH - left, y - 9, value))
        if row.low is not None:
            parts.append(f'<path class="whisker {row.css}" d="M{low:.1f} {y}H{high:.1f}"/>')
        parts.append(f'<circle class="fill {row.css}" cx="{x:.1f}" cy="{y}" r="4.5"/>')
    parts.append(_text("mid label", left + width / 2, bottom + 34, axis.label))
    return _svg(label, WIDTH, bottom + 42, parts)


def _svg(label: str, width: int, height: int, body: Sequence[str]) -> str:
    text = html.escape(label, quote=True)
    head = f'<svg role="img" aria-label="{text}" viewBox="0 0 {width} {height}">'
    return f"{head}{''.join(body)}</svg>"


def _text(css: str, x: float, y: float, text: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'


def _dots(points_Nx2: np.ndarray) -> str:
    # Lines of length 0 with round ends: a fifth of the bytes of circles.
    finite = points_Nx2[np.isfinite(points_Nx2).all(axis=-1)]
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in finite)


def _pieces(points_Nx2: np.ndarray) -> list[np.ndarray]:
    """The points in pieces without gaps."""
    finite_N = np.isfinite(points_Nx2).all(axis=-1)
    starts = np.flatnonzero(np.diff(finite_N.astype(int), prepend=0, append=0))
    return [points_Nx2[i:j] for i, j in zip(starts[::2], starts[1::2], strict=True)]
