"""The table of a study, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from damff_jax.evaluation import metrics

# Scores in the tables, by their flat name.
_SCORES = {
    "ccc": "CCC",
    "pearson": "r",
    "rmse": "RMSE",
    "per_song/ccc": "per song: CCC",
    "per_song/pearson": "r",
    "per_song/rmse": "RMSE",
    "within_song/ccc": "within song: CCC",
    "within_song/pearson": "r",
}


def markdown(results: Mapping[str, Any]) -> str:
    """For every protocol a table per dimension and one of the cost, with a row per system.

    See `results.results_of_protocols` for the content of `results`.
    """
    parts = []
    for protocol, part in results["protocols"].items():
        if not part["systems"]:
            continue
        tables = _tables(part, results["reference"])
        parts += [_heading(protocol, part), *tables] if protocol else tables
    return "\n\n".join(parts)


def _heading(protocol: str, part: Mapping[str, Any]) -> str:
    row = next(iter(part["systems"].values()))
    first, end = part["seconds"]
    n_folds = f" in {len(part['folds'])} folds" if len(part["folds"]) > 1 else ""
    return (
        f"### {protocol}\n\n{row['n_songs']:,} test songs{n_folds}, {row['n_points']:,} points, "
        f"seconds {first:g} to {end:g} of the songs."
    )


def _tables(part: Mapping[str, Any], reference: str) -> list[str]:
    tables = []
    for dimension in metrics.DIMENSIONS:
        first, *others = _SCORES.values()
        against = f"CCC − that of {reference} [95 %]"
        rows = [[name, *_scores(row, dimension)] for name, row in part["systems"].items()]
        tables.append([[f"{dimension}, pooled:", first, against, *others], *rows])
    cost = [["cost", "seeds", "parameters", "minutes per run"]]
    cost += [[name, *_cost(row)] for name, row in part["systems"].items()]
    return list(map(_table, [*tables, cost]))


def _scores(row: Mapping[str, Any], dimension: str) -> list[str]:
    several = len(row["seeds"]) > 1
    cells = [_number(row["scores"][f"{dimension}/{score}"], several) for score in _SCORES]
    return [cells[0], _interval(row["against"].get(dimension)), *cells[1:]]


def _cost(row: Mapping[str, Any]) -> list[str]:
    parameters = "" if row["parameters"] is None else f"{row['parameters']:,}"
    return [str(len(row["seeds"])), parameters, f"{row['seconds'] / 60:.1f}"]


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _number(mean_and_std: Sequence[float], several: bool) -> str:
    mean, std = mean_and_std
    return f"{_short(mean)} ± {_short(std)}" if several else _short(mean)


def _interval(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return ""
    low, high = (_signed(interval[x]) for x in ("low", "high"))
    return f"{_signed(interval['difference'])} [{low}, {high}]"


def _short(x: float, sign: str = "-") -> str:
    """Three decimals without a leading zero: .123, −.123, 1.234."""
    text = f"{x:{sign}.3f}"
    digits = text.lstrip("+-")
    return text[: -len(digits)].replace("-", "−") + digits.removeprefix("0")


def _signed(x: float) -> str:
    return _short(x, "+")
