"""The table of a study, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from damff_jax import metrics

# Scores that stand in the table, by their flat name.
_SCORES = {
    "ccc": "CCC",
    "rmse": "RMSE",
    "per_song/ccc": "CCC per song",
    "per_song/pearson": "r per song",
}


def markdown(results: Mapping[str, Any]) -> str:
    """The table, a row per system; see `__main__.results_of` for what `results` holds."""
    header = ["system", "seeds"]
    for name in metrics.DIMENSIONS:
        header += [f"{name}: CCC", f"against {results['reference']}", *list(_SCORES.values())[1:]]
    header += ["parameters", "min per run"]
    rows = [_row(name, row) for name, row in results["systems"].items()]
    return "\n".join([_line(header), _line(["---"] * len(header)), *map(_line, rows)])


def _row(name: str, row: Mapping[str, Any]) -> list[str]:
    cells = [name, str(len(row["seeds"]))]
    for dimension in metrics.DIMENSIONS:
        scores = {s: row["scores"][f"{dimension}/{s}"] for s in _SCORES}
        several = len(row["seeds"]) > 1
        cells.append(_number(*scores["ccc"], several))
        cells.append(_interval(row["against"].get(dimension)))
        cells += [_number(*scores[s], several) for s in list(_SCORES)[1:]]
    cells.append(f"{row['parameters']:,}" if row["parameters"] is not None else "")
    cells.append(f"{row['seconds'] / 60:.1f}")
    return cells


def _number(mean: float, std: float, several: bool) -> str:
    return f"{_short(mean)} ± {_short(std)}" if several else _short(mean)


def _interval(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return ""
    low, high = (_signed(interval[x]) for x in ("low", "high"))
    return f"{_signed(interval['difference'])} [{low}, {high}]"


def _short(x: float, sign: str = "-") -> str:
    """Three decimals without the zero before them: .123, −.123, 1.234."""
    text = f"{x:{sign}.3f}"
    digits = text.lstrip("+-")
    return text[: -len(digits)].replace("-", "−") + digits.removeprefix("0")


def _signed(x: float) -> str:
    return _short(x, "+")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
