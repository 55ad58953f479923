"""Charts as inline SVG, without a library: axes, and marks that are drawn on them.

Colours and fonts are the page's, by CSS classes such as `valence`; see `charts.css`. A chart is as
wide as a phone, so that its text is readable there.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from damff_jax.report.charts.axes import Axis
from damff_jax.report.text import escape

WIDTH, HEIGHT = 420, 280
# Of the frame: left, top, right, bottom.
_PAD = (58, 30, 14, 44)
# Opacities of the cells of a density.
_LEVELS = (0.12, 0.26, 0.42, 0.58, 0.76, 1.0)


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
        """Cells of equal size over the whole frame, the stronger the more they count.

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
            f'<text class="word" x="{place_x:.1f}" y="{place_y:.1f}">{escape(text)}</text>'
        )

    def svg(self) -> str:
        body = [*self._axes(), *self._marks, *self._legend_row()]
        return drawing(self.label, self.height, body)

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
            text = escape(self.y.text(value))
            parts.append(f'<text class="end" x="{left - 6}" y="{place + 4:.1f}">{text}</text>')
        for value, place in zip(self.x.ticks, self._x(np.array(self.x.ticks)), strict=True):
            parts.append(f'<path class="grid" d="M{place:.1f} {top}v{height}"/>')
            text = escape(self.x.text(value))
            parts.append(f'<text class="mid" x="{place:.1f}" y="{bottom + 16}">{text}</text>')
        parts.append(words_at("mid label", left + width / 2, self.height - 8, self.x.label))
        middle = top + height / 2
        parts.append(
            f'<text class="mid label" transform="translate(10 {middle:.0f}) rotate(-90)">'
            f"{escape(self.y.label)}</text>"
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
            parts += [mark, words_at("legend", x + 21, 19, name)]
            x += 34 + 6.4 * len(name)
        return parts


def drawing(label: str, height: int, body: Sequence[str]) -> str:
    """An SVG as wide as a phone, with its text alternative."""
    text = escape(label)
    head = f'<svg role="img" aria-label="{text}" viewBox="0 0 {WIDTH} {height}">'
    return f"{head}{''.join(body)}</svg>"


def words_at(css: str, x: float, y: float, text: str) -> str:
    """A text of a drawing."""
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _dots(points_Nx2: np.ndarray) -> str:
    # Lines of length 0 with round ends: a fifth of the bytes of circles.
    finite = points_Nx2[np.isfinite(points_Nx2).all(axis=-1)]
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in finite)


def _pieces(points_Nx2: np.ndarray) -> list[np.ndarray]:
    """The points in pieces without gaps."""
    finite_N = np.isfinite(points_Nx2).all(axis=-1)
    starts = np.flatnonzero(np.diff(finite_N.astype(int), prepend=0, append=0))
    return [points_Nx2[i:j] for i, j in zip(starts[::2], starts[1::2], strict=True)]
