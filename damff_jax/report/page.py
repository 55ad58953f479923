"""A self-contained HTML page with a curve."""

import html
import os
from collections.abc import Sequence

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.report import COLOURS
from damff_jax.system.files import atomic_write


def write_html(
    path: str | os.PathLike,
    title: str,
    times_T: np.ndarray,
    curve_TxV: np.ndarray,
    *,
    notes: Sequence[str] = (),
) -> None:
    """Writes a page with the curve as inline SVG and a table, without scripts or external files.

    Args:
      notes: sentences about how to read the curve.
    """
    width, height, pad = 900.0, 260.0, 30.0
    span = max(float(times_T[-1]), 0.5)

    def line(v: int) -> str:
        xs = pad + (width - 2 * pad) * times_T / span
        ys = height / 2 - (height / 2 - pad) * np.clip(curve_TxV[:, v], -1, 1)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))

    svg = [f'<svg viewBox="0 0 {width:g} {height:g}" role="img">']
    for level, y in ((1, pad), (0, height / 2), (-1, height - pad)):
        svg.append(
            f'<path d="M{pad} {y}H{width - pad}" stroke="#ccc"/><text y="{y}">{level}</text>'
        )
    for v, name in enumerate(DIMENSIONS):
        svg.append(
            f'<polyline points="{line(v)}" fill="none" stroke="{COLOURS[name]}" stroke-width="2">'
            f"<title>{name}</title></polyline>"
        )
        svg.append(f'<text x="{pad + 90 * v}" y="18" fill="{COLOURS[name]}">{name}</text>')
    svg.append("</svg>")
    rows = "".join(
        f"<tr><td>{time:.1f}<td>{valence:.3f}<td>{arousal:.3f}"
        for time, (valence, arousal) in zip(times_T, curve_TxV, strict=True)
    )
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{html.escape(title)}</title>"
        "<style>body{font:15px sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "svg{width:100%}td,th{padding:0 1rem;text-align:right}</style>"
        f"<h1>{html.escape(title)}</h1>"
        "<p>Valence and arousal in [-1, 1], a value every 0.5 s, from 0.0 s at the start of the "
        f"file to {times_T[-1]:.1f} s. {html.escape(' '.join(notes))}</p>"
        f"{''.join(svg)}<details><summary>Values</summary><table>"
        f"<tr><th>time (s)<th>valence<th>arousal{rows}</table></details>\n"
    )
    with atomic_write(path) as file:
        file.write(page)
