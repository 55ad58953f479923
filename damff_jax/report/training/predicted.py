"""The sections of a training report on its predictions: all points, and songs."""

from collections.abc import Mapping

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS, Curve
from damff_jax.report.charts import axes
from damff_jax.report.charts.chart import Chart
from damff_jax.report.pages import elements
from damff_jax.report.text import decimals
from damff_jax.report.training.workdir import Evaluated

_CELLS = np.linspace(-1, 1, 41)
# Points of a curve that are drawn; a longer one is averaged over blocks.
_MAX_POINTS = 400


def points(evaluated: Evaluated) -> str:
    """Predicted against true, and the errors' histogram, by dimension."""
    figures = []
    for v, name in enumerate(DIMENSIONS):
        pairs = [
            (curve.truth_TxV[rows, v], curve.prediction_TxV[rows, v])
            for curve in evaluated.curves.values()
            for rows in [curve.mask_TxV[:, v]]
        ]
        truth_N, prediction_N = map(np.concatenate, zip(*pairs, strict=True))
        figures += [_against(name, truth_N, prediction_N), _errors(name, prediction_N - truth_N)]
    return elements.grid([figures[0], figures[2], figures[1], figures[3]], "pairs")


def _against(name: str, truth_N: np.ndarray, prediction_N: np.ndarray) -> str:
    counts, _, _ = np.histogram2d(
        np.clip(truth_N, -1, 1), np.clip(prediction_N, -1, 1), bins=[_CELLS, _CELLS]
    )
    label = f"{name}: predicted against true, {len(truth_N):,} segments"
    chart = Chart(label, axes.scale(f"{name}, label"), axes.scale("predicted"), height=428)
    chart.density(counts, name, name="segments")
    chart.diagonal(name="equal")
    spread = f"{prediction_N.std():.2f} against {truth_N.std():.2f}"
    return elements.figure(
        chart.svg(),
        f"{name.capitalize()}, predicted against true; stronger cells hold more of the "
        f"{len(truth_N):,} segments. Standard deviation {spread} of the labels.",
    )


def _errors(name: str, error_N: np.ndarray) -> str:
    reach = max(0.25, float(np.ceil(np.abs(error_N).max() * 4) / 4))
    counts, edges = np.histogram(error_N, bins=np.linspace(-reach, reach, 41))
    x = axes.linear([-reach, reach], f"{name}: predicted − label")
    chart = Chart(
        f"Histogram of the errors in {name}", x, axes.linear([0, counts.max()], "segments")
    )
    chart.bars(edges, counts, name)
    chart.vertical(0.0)
    within = float(np.percentile(np.abs(error_N), 80))
    mean = decimals(float(error_N.mean()))
    return elements.figure(
        chart.svg(),
        f"Errors in {name}: mean {mean}, standard deviation {error_N.std():.2f}; 80 % are smaller "
        f"than {within:.2f}.",
    )


def songs(evaluated: Evaluated) -> str:
    """The best, the median and the worst song with their curves, and a table of all songs."""
    errors = {song: _rmse(curve) for song, curve in evaluated.curves.items()}
    ranked = sorted(errors, key=lambda song: float(np.sqrt(np.nanmean(errors[song] ** 2))))
    places = {"Best": 0, "Median": (len(ranked) - 1) // 2, "Worst": len(ranked) - 1}
    chosen = {ranked[place]: word for word, place in reversed(places.items())}
    parts = [
        elements.paragraph(
            f"The {len(ranked):,} songs are ranked by their RMSE over both dimensions."
        )
    ]
    for song in sorted(chosen, key=ranked.index):
        curve, times_T = evaluated.curves[song], evaluated.times[song]
        figures = [_curve(song, v, curve, times_T, errors[song][v]) for v in range(len(DIMENSIONS))]
        parts += [elements.heading(f"{chosen[song]}: {song}"), elements.grid(figures, "pairs")]
    return "".join(parts) + elements.details("All songs", _table(evaluated.curves, errors, ranked))


def _curve(song: str, v: int, curve: Curve, times_T: np.ndarray, rmse: float) -> str:
    name = DIMENSIONS[v]
    truth_T = np.where(curve.mask_TxV[:, v], curve.truth_TxV[:, v], np.nan)
    times_T, truth_T, prediction_T = (
        _thinned(x) for x in (times_T, truth_T, curve.prediction_TxV[:, v])
    )
    x = axes.time(float(times_T[0]), float(times_T[-1]))
    chart = Chart(f"{name} of {song}: label and prediction", x, axes.scale(name), height=240)
    chart.line(times_T, truth_T, "truth", name="label")
    chart.line(times_T, prediction_T, name, name="predicted")
    score = "no labels" if np.isnan(rmse) else f"RMSE {rmse:.2f}"
    return elements.figure(chart.svg(), f"{name.capitalize()}: {score}.")


def _thinned(x_T: np.ndarray) -> np.ndarray:
    """Means over equal blocks, if there are too many points; NaN only where all are."""
    size = -(-len(x_T) // _MAX_POINTS)
    if size == 1:
        return x_T
    padded = np.concatenate([x_T, np.full(-len(x_T) % size, np.nan)]).reshape(-1, size)
    n = np.isfinite(padded).sum(axis=1)
    return np.where(n > 0, np.nansum(padded, axis=1) / np.maximum(n, 1), np.nan)


def _table(curves: Mapping[str, Curve], errors: Mapping[str, np.ndarray], ranked: list[str]) -> str:
    head = ["song", "segments"]
    for name in DIMENSIONS:
        head += [f"{name}: RMSE", "mean label", "mean predicted"]
    rows = []
    for song in ranked:
        curve, row = curves[song], [song, f"{len(curves[song].mask_TxV):,}"]
        for v in range(len(DIMENSIONS)):
            rows_T = curve.mask_TxV[:, v]
            if not rows_T.any():
                row += ["–", "–", "–"]
                continue
            means = (z[rows_T, v].mean() for z in (curve.truth_TxV, curve.prediction_TxV))
            row += [f"{errors[song][v]:.3f}", *(decimals(float(mean)) for mean in means)]
        rows.append(row)
    return elements.table(head, rows, caption="All songs, the best first")


def _rmse(curve: Curve) -> np.ndarray:
    """RMSE (V,) of a song; NaN without labels."""
    error_TxV = np.where(curve.mask_TxV, curve.prediction_TxV - curve.truth_TxV, 0.0)
    n_V = curve.mask_TxV.sum(axis=0)
    return np.where(n_V > 0, np.sqrt((error_TxV**2).sum(axis=0) / np.maximum(n_V, 1)), np.nan)
