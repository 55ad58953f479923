"""The section of a training report on its scores, beside those of baselines."""

from collections.abc import Mapping

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.report.charts import axes
from damff_jax.report.charts.intervals import Interval, intervals
from damff_jax.report.pages import data_page, elements
from damff_jax.report.text import decimals, signed
from damff_jax.report.training import comparison
from damff_jax.report.training.comparison import Estimate, System
from damff_jax.report.training.workdir import Workdir

_TITLES = {"ccc": "CCC, pooled", "rmse": "RMSE", "within_ccc": "CCC within songs"}
_THIS = "this run"


def compared(run: Workdir, split: str) -> dict[str, System]:
    """Scores of this run, of ridge regression if there is such a run, and of the constant."""
    curves = run.splits[split].curves
    systems = {_THIS: curves}
    if split in run.ridge:
        systems["ridge"] = run.ridge[split].curves
    if run.model != "constant":
        systems["constant"] = comparison.constant(curves, data_page.constant_of(run.facts["data"]))
    return comparison.compare(systems)


def section(run: Workdir, systems: Mapping[str, System]) -> str:
    """The scores on the main split as cards and intervals, and those on all splits as a table.

    Args:
      systems: those of the main split, see `compared`.
    """
    split, parts = run.main_split, []
    if run.config["data"]["dataset"] == "synthetic":
        note = "These songs are synthetic: the scores only show that the program works."
        parts.append(elements.notice(note))
    if split != "test":
        note = f"No test songs were evaluated; these are the {split} songs."
        parts.append(elements.notice(note))
    cards = "".join(_card(name, systems) for name in DIMENSIONS)
    parts.append(f'<div class="cards">{cards}</div>')
    n_songs = len(run.splits[split].curves)
    parts.append(elements.paragraph(_explained(n_songs), "hint"))
    parts.append(elements.grid(_figures(systems)))
    parts.append(_table(run, split, systems))
    parts += [
        elements.details(f"Scores on the {name} songs", _table(run, name, None))
        for name in run.splits
        if name != split
    ]
    parts.append(elements.paragraph(_baselines(run), "hint"))
    return "".join(parts)


def _card(dimension: str, systems: Mapping[str, System]) -> str:
    ours = systems[_THIS].scores
    ccc = ours[dimension, "ccc"]
    interval = "" if ccc.low is None else f" {_range(ccc)}"
    others = "".join(
        elements.paragraph(against(name, dimension, system))
        for name, system in systems.items()
        if name != _THIS
    )
    scores = (
        f"RMSE {_text(ours[dimension, 'rmse'])}; CCC within songs "
        f"{_text(ours[dimension, 'within_ccc'])}."
    )
    return (
        f'<div class="card"><h3 class="{dimension}">{dimension}</h3>'
        f'<p class="big">{decimals(ccc.value)} <small>pooled CCC{interval}</small></p>'
        f"{elements.paragraph(scores)}{others}</div>"
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
        return f"{title} {signed(lead.value, 3)} beside {baseline}."
    interval = f"{title} {signed(lead.value, 3)} [{signed(lead.low, 3)}, {signed(lead.high, 3)}]"
    if lead.low <= 0 <= lead.high:
        return f"Not distinguishable from {baseline}: {interval}."
    better = (lead.value > 0) != (measure == "rmse")
    return f"{'Better' if better else 'Worse'} than {baseline}: {interval}."


def _explained(n_songs: int) -> str:
    if n_songs < comparison.MIN_SONGS:
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
            axis = axes.linear([0, *ends], f"{title}, {dimension}", text=decimals)
            label = f"{title} in {dimension}, by system"
            better = "lower is better" if measure == "rmse" else "higher is better"
            svg = intervals(label, rows, axis)
            figures.append(elements.figure(svg, f"{title}, {dimension}; {better}."))
    # Valence above arousal, where three fit beside each other.
    return figures[::2] + figures[1::2]


def _css(name: str, dimension: str) -> str:
    return dimension if name == _THIS else "plain"


def _table(run: Workdir, split: str, systems: Mapping[str, System] | None) -> str:
    systems = systems or compared(run, split)
    head = ["dimension, system", *(_TITLES[measure] for measure in comparison.MEASURES)]
    rows = [
        [f"{dimension}, {name}"]
        + [_text(system.scores[dimension, measure], 3) for measure in comparison.MEASURES]
        for dimension in DIMENSIONS
        for name, system in systems.items()
    ]
    return elements.table(head, rows, caption=f"Scores on the {split} songs")


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
    value = decimals(estimate.value, n_digits)
    return value if estimate.low is None else f"{value} {_range(estimate, n_digits)}"


def _range(estimate: Estimate, n_digits: int = 2) -> str:
    low, high = (decimals(x or 0.0, n_digits) for x in (estimate.low, estimate.high))
    return f"[{low}, {high}]"
