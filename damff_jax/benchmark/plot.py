"""A plot of the cases: a panel for each, with ours and its peers."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from damff_jax.benchmark.results import OURS
from damff_jax.system.files import atomic_write

_COLOURS = {
    OURS: "#1f77b4",
    "torch": "#ee4c2c",
    "linen_rnn": "#7f7f7f",
    "cudnn": "#76b900",
    "librosa": "#9467bd",
}


def plot(path: str | os.PathLike, title: str, cases: Sequence[Mapping[str, Any]]) -> None:
    """Writes a PNG: medians as bars from 0 with spreads, on a separate linear axis per case."""
    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.6 * rows + 0.4), layout="constrained")
    figure.suptitle(title, fontsize="medium", parse_math=False)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(cases) :]:
        axes.set_axis_off()
    for axes, case in zip(panels, cases, strict=False):
        bars = {OURS: case, **case["peers"]}
        medians = [bar["median_s"] for bar in bars.values()]
        # The error bar's whole length is the spread, the interquartile range.
        axes.bar(
            list(bars),
            medians,
            yerr=[bar["spread_s"] / 2 for bar in bars.values()],
            color=[_COLOURS.get(name, "0.5") for name in bars],
            capsize=4,
            width=0.6,
        )
        axes.set_ylim(bottom=0)
        axes.set_ylabel("seconds", fontsize="small")
        axes.set_title(f"{case['suite']}/{case['name']}", fontsize="medium", parse_math=False)
        axes.tick_params(labelsize="small")
        axes.grid(axis="y", alpha=0.3)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=110)
