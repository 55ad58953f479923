"""Plots of curves and of training, as PNG."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from damff_jax.evaluation.metrics import DIMENSIONS, Curve
from damff_jax.report import COLOURS
from damff_jax.system.files import atomic_write


def plot_curve(
    path: str | os.PathLike, title: str, times_T: np.ndarray, curve_TxV: np.ndarray
) -> None:
    """Valence and arousal of one song over time."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    for v, name in enumerate(DIMENSIONS):
        axes.plot(times_T, curve_TxV[:, v], color=COLOURS[name], label=name)
    _finish(axes, title)
    axes.legend(fontsize="small", loc="lower left", ncols=2)
    axes.set_xlabel("time (s)")
    _save(figure, path)


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
                times[song_id], curve.prediction_TxV[:, v], color=COLOURS[name], label="predicted"
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
        plot(ccc_axes, f"train/{name}/ccc", color=COLOURS[name], alpha=0.35)
        plot(ccc_axes, f"validation/{name}/ccc", color=COLOURS[name], marker="o")
    for axes, label in ((loss_axes, "loss"), (ccc_axes, "CCC, pooled")):
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    _save(figure, path)


def _finish(axes: Axes, title: str) -> None:
    # A song's name may contain what Matplotlib would parse as mathematics.
    axes.set_title(title, fontsize="medium", parse_math=False)
    axes.set_ylim(-1, 1)
    axes.grid(alpha=0.3)


def _save(figure: Figure, path: str | os.PathLike) -> None:
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=110)
