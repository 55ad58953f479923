"""The results as text: a row per case, and a comparison of two runs."""

from collections.abc import Mapping
from typing import Any

HEADER = (
    f"{'case':<28}{'median':>9}{'spread':>9}{'compile':>9}{'clips/s':>9}{'/floor':>8}  ours / peer"
)


def row(case: Mapping[str, Any]) -> str:
    """A case as a line of the table, under `HEADER`."""
    clips_per_s = case.get("clips_per_s")
    floors = (case.get("roofline") or {}).get("ratio")
    cells = [
        f"{case['suite'] + '/' + case['name']:<28}",
        f"{format_seconds(case['median_s']):>9}",
        f"{format_seconds(case['spread_s']):>9}",
        f"{format_seconds(case['compile_s']):>9}",
        f"{'' if clips_per_s is None else f'{clips_per_s:.4g}':>9}",
        f"{'' if floors is None else f'{floors:.1f}x':>8}",
    ]
    peers = (
        f"  {peer} {ratio:.2f} ± {case['ratio_spread'][peer]:.2f}"
        for peer, ratio in case["ratio"].items()
    )
    notes = (f"  {x}" for x in case.get("notes", ()))
    return "".join([*cells, *peers, *notes]).rstrip()


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """A table of new / old seconds per case of two JSON files.

    The two were not measured alternately: the spread is that of the quotient if both vary
    independently, and a difference may be due to the machine.
    """
    lines = []
    if old["device"] != new["device"]:
        lines.append("the devices differ: these ratios compare machines")
    lines.append(f"{'case':<28}{'old':>9}{'new':>9}  new / old")
    before = {(case["suite"], case["name"]): case for case in old["cases"]}
    for case in new["cases"]:
        key = case["suite"], case["name"]
        cells = f"{'/'.join(key):<28}"
        if key not in before:
            lines.append(f"{cells}{'':>9}{format_seconds(case['median_s']):>9}  (new case)")
            continue
        was = before[key]
        ratio, spread = quotient(case, was)
        medians = "".join(f"{format_seconds(x['median_s']):>9}" for x in (was, case))
        lines.append(f"{cells}{medians}  {ratio:.3f} ± {spread:.3f}")
    return "\n".join(lines)


def quotient(new: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[float, float]:
    """New median / old median, and its spread, from both spreads as if independent."""
    ratio = new["median_s"] / old["median_s"]
    relative = (x["spread_s"] / x["median_s"] for x in (new, old))
    return ratio, ratio * sum(x**2 for x in relative) ** 0.5


def format_seconds(seconds: float | None) -> str:
    """Three digits and a unit; empty for None."""
    if seconds is None:
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale or unit == "µs":
            digits = max(0, 2 - len(f"{seconds / scale:.0f}") + 1)
            return f"{seconds / scale:.{digits}f} {unit}"
    raise AssertionError
