"""The section of a training report on its scores, beside those of baselines."""

from collections.abc import Mapping

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.report import axes, data_page, skeleton, verdict
from damff_jax.report.charts import Interval, intervals
from damff_jax.report.verdict import Estimate, System
from damff_jax.report.workdir import Workdir

_TITLES = {"ccc": "CCC, pooled", "rmse": "RMSE", "within_ccc": "CCC within songs"}
_THIS = "this run"


def compared(run: Workdir, split: str) -> dict[str, System]:
    """Scores of this run, of ridge regression if there is such a run, and of the constant."""
    curves = run.splits[split].curves
    systems = {_THIS: curves}
    if split in run.ridge:
        systems["ridge"] = run.ridge[split].curves
    if run.model != "constant":
        systems["constant"] = verdict.constant(curves, data_page.constant_of(run.facts["data"]))
    return verdict.compare(systems)


def section(run: Workdir, systems: Mapping[str, System]) -> str:
    """The scores on the main split as cards and intervals, and those on all splits as a table.

    Args:
      systems: those of the main split, see `compared`.
    """
    split, parts = run.main_split, []
    if run.config["data"]["dataset"] == "synthetic":
        note = "These songs are synthetic: the scores only show that the program works."
        parts.append(skeleton.paragraph(note, "note"))
    if split != "test":
        note = f"No test songs were evaluated; these are the {split} songs."
        parts.append(skeleton.paragraph(note, "note"))
    cards = "".join(_card(name, systems) for name in DIMENSIONS)
    parts.append(f'<div class="cards">{cards}</div>')
    n_songs = len(run.splits[split].curves)
    parts.append(skeleton.paragraph(_explained(n_songs), "quiet"))
    parts.append(skeleton.grid(_figures(systems)))
    parts.append(_table(run, split, systems))
    parts += [
        skeleton.details(f"Scores on the {name} songs", _table(run, name, None))
        for name in run.splits
        if name != split
    ]
    parts.append(skeleton.paragraph(_baselines(run), "quiet"))
    return "".join(parts)


def _card(dimension: str, systems: Mapping[str, System]) -> str:
    ours = systems[_THIS].scores
    ccc = ours[dimension, "ccc"]
    interval = "" if ccc.low is None else f" {_range(ccc)}"
    others = "".join(
        skeleton.paragraph(against(name, dimension, system))
        for name, system in systems.items()
        if name != _THIS
    )
    scores = (
        f"RMSE {_text(ours[dimension, 'rmse'])}; CCC within songs "
        f"{_text(ours[dimension, 'within_ccc'])}."
    )
    return (
        f'<div class="card"><h3 class="{dimension}">{dimension}</h3>'
        f'<p class="big">{axes.decimals(ccc.value)} <small>pooled CCC{interval}</small></p>'
        f"{skeleton.paragraph(scores)}{others}</div>"
    )


def against(name: str, dimension: str, system: System) -> str:
    """One sentence on whether this run is better than a baseline.

    Against the constant by the RMSE, because its CCC is 0 by definition; otherwise by the CCC.
    """
    measure = "rmse" if name == "constant" else "ccc"
    lead = system.lead[dimension, measure]
    title = "RMSE" if measure == "rmse" else "pooled CCC"
    baseline = "the constant" if name == "constant" else name
    if lead.low is None or lead.high is None:
        return f"{title} {_signed(lead.value)} beside {baseline}."
    interval = f"{title} {_signed(lead.value)} [{_signed(lead.low)}, {_signed(lead.high)}]"
    if lead.low <= 0 <= lead.high:
        return f"Not distinguishable from {baseline}: {interval}."
    better = (lead.value > 0) != (measure == "rmse")
    return f"{'Better' if better else 'Worse'} than {baseline}: {interval}."


def _explained(n_songs: int) -> str:
    if n_songs < verdict.MIN_SONGS:
        return f"{n_songs} songs are too few for intervals."
    return (
        f"On {n_songs:,} songs. Brackets are 95 % intervals of a bootstrap over songs: how much "
        "the score varies with the choice of songs, not with another training."
    )


def _figures(systems: Mapping[str, System]) -> list[str]:
    figures = []
    for measure, title in _TITLES.items():
        for dimension in DIMENSIONS:
            rows = [
                Interval(name, *system.scores[dimension, measure], css=_css(name, dimension))
                for name, system in systems.items()
            ]
            ends = [x for row in rows for x in (row.value, row.low, row.high) if x is not None]
            axis = axes.linear([0, *ends], f"{title}, {dimension}", text=axes.decimals)
            label = f"{title} in {dimension}, by system"
            better = "lower is better" if measure == "rmse" else "higher is better"
            svg = intervals(label, rows, axis)
            figures.append(skeleton.figure(svg, f"{title}, {dimension}; {better}."))
    # Valence above arousal, where three fit beside each other.
    return figures[::2] + figures[1::2]


def _css(name: str, dimension: str) -> str:
    return dimension if name == _THIS else "plain"


def _table(run: Workdir, split: str, systems: Mapping[str, System] | None) -> str:
    systems = systems or compared(run, split)
    head = ["dimension, system", *(_TITLES[measure] for measure in verdict.MEASURES)]
    rows = [
        [f"{dimension}, {name}"]
        + [_text(system.scores[dimension, measure], 3) for measure in verdict.MEASURES]
        for dimension in DIMENSIONS
        for name, system in systems.items()
    ]
    return skeleton.table(head, rows, caption=f"Scores on the {split} songs")


def _baselines(run: Workdir) -> str:
    text = "The constant is the mean of the training songs' labels"
    if run.model == "constant":
        text = "This run is the constant: the mean of the training songs' labels"
    if run.ridge:
        return f"{text}; ridge is linear regression on the same songs, from the run next to this."
    if run.model == "ridge":
        return f"{text}."
    return f"{text}. If ridge regression is run next to this (config NAME:ridge), it is shown too."


def _text(estimate: Estimate, n_digits: int = 2) -> str:
    value = _number(estimate.value, n_digits)
    return value if estimate.low is None else f"{value} {_range(estimate, n_digits)}"


def _range(estimate: Estimate, n_digits: int = 2) -> str:
    low, high = (_number(x or 0.0, n_digits) for x in (estimate.low, estimate.high))
    return f"[{low}, {high}]"


def _number(x: float, n_digits: int) -> str:
    # Without −0.00.
    return f"{round(x, n_digits) + 0.0:.{n_digits}f}".replace("-", "−")


def _signed(x: float) -> str:
    return f"{round(x, 3) + 0.0:+.3f}".replace("-", "−")
