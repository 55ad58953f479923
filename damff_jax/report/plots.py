"""Plots of curves and of training, as PNG, SVG or PDF."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from damff_jax.evaluation.metrics import DIMENSIONS, Curve
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report import fonts
from damff_jax.report.charts.axes import time as time_axis
from damff_jax.report.colours import COLOURS
from damff_jax.report.quadrants import QUADRANTS, place
from damff_jax.system.files import atomic_write

FORMATS = ("png", "svg", "pdf")
_SCALE = (-1, -0.5, 0, 0.5, 1)
# Characters of a title that are measured at the most.
_MAX_TITLE = 300


def plot_curve(
    path: str | os.PathLike,
    title: str,
    times_T: np.ndarray,
    curve_TxV: np.ndarray,
    *,
    notes: Sequence[str] = (),
    plane: bool = False,
) -> None:
    """Valence and arousal of one song over time.

    Args:
      path: its extension is the format: png, svg or pdf.
      title: the song's name, in any script; shortened if it is too long.
      notes: sentences about how to read the curve, in small print below.
      plane: whether to draw the path on the plane of valence and arousal, too.

    Raises:
      OSError: the file cannot be written.
    """
    width = 12.0 if plane else 9.0
    figure = Figure(figsize=(width, 4.0 if plane else 3.4), layout="constrained")
    ratios = [2.7, 1] if plane else [1]
    axes, *others = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    for v, name in enumerate(DIMENSIONS):
        # The curve of half a second is a point.
        marker = "o" if len(times_T) == 1 else None
        axes.plot(times_T, curve_TxV[:, v], marker=marker, color=COLOURS[name].light, label=name)
    _time_axis(axes, times_T)
    axes.set_ylim(-1, 1)
    axes.set_yticks(_SCALE)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower left", ncols=2)
    for other in others:
        _draw_plane(other, times_T, curve_TxV)
    _write_title(figure, title)
    if notes:
        text = textwrap.fill(" ".join(notes), round(19 * width))
        figure.supxlabel(text, x=0.01, ha="left", fontsize=7, color="0.4", parse_math=False)
    _save(figure, path)


def _time_axis(axes: Axes, times_T: np.ndarray) -> None:
    axis = time_axis(float(times_T[0]), float(times_T[-1]) + SEGMENT_SECONDS)
    axes.set_xlim(axis.low, axis.high)
    axes.set_xticks(axis.ticks, [axis.text(tick) for tick in axis.ticks])
    axes.set_xlabel(axis.label)


def _draw_plane(axes: Axes, times_T: np.ndarray, curve_TxV: np.ndarray) -> None:
    """The path on the plane, coloured by time, from a ring to a dot."""
    pieces_Nx2x2 = np.stack([curve_TxV[:-1], curve_TxV[1:]], axis=1)
    path = LineCollection(list(pieces_Nx2x2), cmap="viridis", lw=1.5, rasterized=True)
    path.set_array(times_T[:-1])
    axes.add_collection(path)
    for place_V, word, fill in ((curve_TxV[0], "start", "white"), (curve_TxV[-1], "end", "0.2")):
        axes.plot(*place_V, "o", mfc=fill, color="0.2")
        axes.annotate(word, place_V, (6, 6), textcoords="offset points", fontsize="small")
    for words in QUADRANTS:
        axes.text(*place(words), words, ha="center", va="center", fontsize="small", color="0.4")
    axes.set_xticks(_SCALE)
    axes.set_yticks(_SCALE)
    axes.axhline(0, color="0.6", lw=0.8)
    axes.axvline(0, color="0.6", lw=0.8)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), xlabel="valence", ylabel="arousal", aspect="equal")


def _write_title(figure: Figure, title: str) -> None:
    """The title in fonts that have its characters, shortened to the figure's width."""
    title, families = fonts.for_text(title)
    text = figure.suptitle(title, fontsize=13, fontfamily=families, parse_math=False)
    renderer = FigureCanvasAgg(figure).get_renderer()
    limit = 0.96 * figure.bbox.width
    # Ten thousand characters would take seconds to measure, and no more than this fit.
    kept = min(len(title), _MAX_TITLE)
    while kept > 2 and (kept < len(title) or text.get_window_extent(renderer).width > limit):
        # The end tells parts and versions apart, so the middle is left out.
        text.set_text(f"{title[: -(-kept // 2)]} … {title[-(kept // 2) :]}")
        width = text.get_window_extent(renderer).width
        if width <= limit:
            break
        kept = min(kept - 1, int(kept * limit / width))


def plot_comparison(
    path: str | os.PathLike,
    title: str,
    curves: Mapping[str, Curve],
    times: Mapping[str, np.ndarray],
    *,
    n_songs: int = 4,
) -> None:
    """True and predicted curves of some songs, picked at even intervals."""
    chosen = [
        list(curves)[i] for i in np.unique(np.linspace(0, len(curves) - 1, n_songs).astype(int))
    ]
    figure = Figure(figsize=(10, 2.1 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), 2, squeeze=False, sharey=True)
    figure.suptitle(title, parse_math=False)
    for row, song_id in zip(grid, chosen, strict=True):
        curve = curves[song_id]
        truth_TxV = np.where(curve.mask_TxV, curve.truth_TxV, np.nan)
        for v, (name, axes) in enumerate(zip(DIMENSIONS, row, strict=True)):
            axes.plot(times[song_id], truth_TxV[:, v], color="0.4", label="true")
            axes.plot(
                times[song_id],
                curve.prediction_TxV[:, v],
                color=COLOURS[name].light,
                label="predicted",
            )
            _finish(axes, f"{song_id}: {name}")
    for first, last in zip(grid[0], grid[-1], strict=True):
        first.legend(fontsize="small", loc="lower left", ncols=2)
        last.set_xlabel("time (s)")
    _save(figure, path)


def plot_learning(path: str | os.PathLike, title: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Loss and CCC over the steps, from the events of `metrics.jsonl`."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    loss_axes, ccc_axes = figure.subplots(1, 2)
    figure.suptitle(title, parse_math=False)

    def plot(axes: Axes, name: str, **style: Any) -> None:
        points = [(event["step"], event[name]) for event in events if name in event]
        if points:
            axes.plot(*zip(*points, strict=True), label=name, **style)

    plot(loss_axes, "train/loss", color="0.3")
    for name in DIMENSIONS:
        plot(ccc_axes, f"train/{name}/ccc", color=COLOURS[name].light, alpha=0.35)
        plot(ccc_axes, f"validation/{name}/ccc", color=COLOURS[name].light, marker="o")
    for axes, label in ((loss_axes, "loss"), (ccc_axes, "CCC, pooled")):
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    _save(figure, path)


def _finish(axes: Axes, title: str) -> None:
    # A song's name may contain what Matplotlib would parse as mathematics.
    title, families = fonts.for_text(title)
    axes.set_title(title, fontsize="medium", fontfamily=families, parse_math=False)
    axes.set_ylim(-1, 1)
    axes.grid(alpha=0.3)


def _save(figure: Figure, path: str | os.PathLike) -> None:
    kind = os.path.splitext(path)[1][1:] or "png"
    # Without the time, so that the same curve gives the same bytes.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "damff_jax"}), atomic_write(path, "wb") as file:
        figure.savefig(file, format=kind, dpi=150, metadata=undated.get(kind))
