"""The page of a study: its systems' scores, with the intervals of their differences drawn."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.report.charts import axes
from damff_jax.report.charts.intervals import Interval, intervals
from damff_jax.report.pages import document, elements
from damff_jax.report.text import decimals, signed
from damff_jax.system.files import write_if_changed

_SCORES = {
    "ccc": "CCC",
    "pearson": "r",
    "rmse": "RMSE",
    "per_song/ccc": "per song: CCC",
    "per_song/rmse": "per song: RMSE",
    "within_song/ccc": "within song: CCC",
    "within_song/pearson": "within song: r",
}

# How many times as far from 0 as the median a difference may be to be within the axis.
_FAR = 10


def write(path: str | os.PathLike, title: str, results: Mapping[str, Any]) -> None:
    """Writes the page.

    Args:
      results: see `damff_jax.study.results.results_of_protocols`.

    Raises:
      OSError: the file cannot be written.
    """
    reference = results["reference"]
    sections = [
        document.Section(f"protocol-{i}", name or "Results", _protocol(part, reference))
        for i, (name, part) in enumerate(results["protocols"].items())
        if part["systems"]
    ]
    n_systems = len({name for part in results["protocols"].values() for name in part["systems"]})
    subtitle = f"{n_systems} systems, compared with {reference}"
    write_if_changed(path, document.report(f"Study: {title}", subtitle, sections))


def _protocol(part: Mapping[str, Any], reference: str) -> str:
    systems = part["systems"]
    row = next(iter(systems.values()))
    n_folds = len(part["folds"])
    folds = f" in {n_folds} folds" if n_folds > 1 else ""
    text = f"{row['n_songs']:,} test songs{folds}, {row['n_points']:,} points"
    if part["seconds"]:
        first, end = part["seconds"]
        text += f", seconds {first:g} to {end:g} of the songs"
    figures = [_scores(systems, name) for name in DIMENSIONS]
    figures += [x for name in DIMENSIONS if (x := _differences(systems, name, reference))]
    parts = [elements.paragraph(f"{text}."), elements.grid(figures, "pairs")]
    parts.append(elements.paragraph(_explained(systems), "hint"))
    parts += [_table(systems, name, reference) for name in DIMENSIONS]
    return "".join([*parts, _cost(systems)])


def _explained(systems: Mapping[str, Any]) -> str:
    several = any(len(row["seeds"]) > 1 for row in systems.values())
    spread = " ± is the standard deviation over seeds." if several else ""
    return (
        "Scores are pooled over all songs. Intervals hold 95 % of a paired bootstrap over songs "
        f"and seeds: a difference whose interval does not include 0 is more than chance.{spread}"
    )


def _scores(systems: Mapping[str, Any], dimension: str) -> str:
    """The CCC of every system; its line is the spread over seeds."""
    rows = []
    for name, row in systems.items():
        mean, std = row["scores"][f"{dimension}/ccc"]
        ends = (mean - std, mean + std) if len(row["seeds"]) > 1 else (None, None)
        rows.append(Interval(name, mean, ends[0], ends[1], css=dimension))
    title = f"CCC in {dimension}"
    axis = axes.linear([0, *_ends(rows)], title, text=decimals)
    svg = intervals(f"{title} of {len(rows)} systems", rows, axis, text=lambda x: decimals(x, 3))
    return elements.figure(svg, f"{title}, pooled.")


def _differences(systems: Mapping[str, Any], dimension: str, reference: str) -> str:
    rows = [
        Interval(name, x["difference"], x["low"], x["high"], css=dimension)
        for name, row in systems.items()
        if (x := row["against"].get(dimension))
    ]
    if not rows:
        return ""
    title = f"CCC in {dimension} − that of {reference}"
    # A system that is far worse than all others must not make their differences invisible.
    limit = _FAR * float(np.median([abs(row.value) for row in rows]))
    near = [row for row in rows if abs(row.value) <= limit]
    axis = axes.linear([0, *_ends(near)], title, text=decimals)
    label = f"{title}, with 95 % intervals"
    svg = intervals(label, rows, axis, text=lambda x: signed(x, 3), zero=True)
    return elements.figure(svg, f"{title}: right of 0 is better than {reference}.")


def _ends(rows: list[Interval]) -> list[float]:
    return [x for row in rows for x in (row.value, row.low, row.high) if x is not None]


def _table(systems: Mapping[str, Any], dimension: str, reference: str) -> str:
    first, *others = _SCORES.values()
    head = ["system", first, f"CCC − that of {reference} [95 %]", *others]
    rows = []
    for name, row in systems.items():
        several = len(row["seeds"]) > 1
        cells = [_number(row["scores"][f"{dimension}/{score}"], several) for score in _SCORES]
        rows.append([name, cells[0], _difference(row["against"].get(dimension)), *cells[1:]])
    return elements.table(head, rows, caption=f"{dimension.capitalize()}, pooled unless said")


def _cost(systems: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            str(len(row["seeds"])),
            "" if row["parameters"] is None else f"{row['parameters']:,}",
            f"{row['seconds'] / 60:.1f}",
        ]
        for name, row in systems.items()
    ]
    return elements.table(
        ["system", "seeds", "parameters", "minutes per run"], rows, caption="Cost"
    )


def _number(mean_and_std: tuple[float, float], several: bool) -> str:
    mean, std = mean_and_std
    return f"{decimals(mean, 3)} ± {std:.3f}" if several else decimals(mean, 3)


def _difference(x: Mapping[str, float] | None) -> str:
    if x is None:
        return ""
    low, high = (signed(x[end], 3) for end in ("low", "high"))
    return f"{signed(x['difference'], 3)} [{low}, {high}]"
