"""The data report: which songs there are, what their labels are, and what was left out and why."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from damff_jax.evaluation.label_summary import LabelSummary, mean_of
from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report.charts import axes
from damff_jax.report.charts.chart import Chart
from damff_jax.report.pages import document, elements
from damff_jax.report.quadrants import QUADRANTS, place
from damff_jax.report.text import clock, decimals
from damff_jax.system.files import write_if_changed

# Names of songs that are listed per reason.
_MAX_NAMES = 500


def write(path: str | os.PathLike, facts: Mapping[str, Any]) -> None:
    """Writes the report of a prepared data set as a page, unless it is there already.

    Args:
      facts: `name`, `identity`, `description`, `citation`; `report`, that of the build; and of the
        songs `n_segments`, by id, and `splits`, ids by split.

    Raises:
      OSError: the file cannot be written.
    """
    bodies = (
        ("songs", "Songs and splits", songs(facts)),
        ("labels", "Labels", labels(facts)),
        ("left-out", "Left out, cut off, repaired", left_out(facts)),
        ("source", "Source", source(facts)),
    )
    title = f"Data report: {facts['name']}"
    page = document.report(title, facts["identity"], [document.Section(*body) for body in bodies])
    write_if_changed(path, page)


def songs(facts: Mapping[str, Any]) -> str:
    """Numbers of songs, segments and labels, by split."""
    report, of_songs = facts["report"], _summaries(facts)
    first, end = report["seconds_of_songs"]
    splits = {**facts["splits"]}
    in_split = {song for ids in splits.values() for song in ids}
    if outside := [song for song in of_songs if song not in in_split]:
        splits["in no split"] = outside
    rows = [_split_row(name, ids, facts["n_segments"], of_songs) for name, ids in splits.items()]
    rows.append(_split_row("all", list(of_songs), facts["n_segments"], of_songs))
    head = ["split", "songs", "segments", "minutes", "valence, mean ± sd", "arousal, mean ± sd"]
    text = (
        f"{report['n_songs']:,} songs with {report['n_segments']:,} segments of 0.5 s, from second "
        f"{first:g} to {end:g} of the songs. A song is in one split only."
    )
    return elements.paragraph(text) + elements.table(head, rows, caption="Songs by split")


def labels(facts: Mapping[str, Any]) -> str:
    """The labels on the plane, their distribution by split, and the songs' durations."""
    of_songs = _summaries(facts)
    within_V = np.nanmedian([s.std_V for s in of_songs.values()], axis=0)
    between_V = np.nanstd([s.mean_V for s in of_songs.values()], axis=0)
    movement = " and ".join(
        f"{within:.2f} within a song (median) against {between:.2f} between songs' means in {name}"
        for name, within, between in zip(DIMENSIONS, within_V, between_V, strict=True)
    )
    figures = [_plane(facts, of_songs), *_levels(facts, of_songs), _durations(facts)]
    spread = elements.paragraph(f"Standard deviations: {movement}.")
    return elements.grid(figures, "beside") + spread


def left_out(facts: Mapping[str, Any]) -> str:
    """What is not in the data set, and what was changed, each with the reason and the songs."""
    report = facts["report"]
    failed = [f"{song_id} ({reason})" for song_id, reason in report["failed"].items()]
    entries = [("failed", "songs that cannot be read", failed)] if failed else []
    entries += [
        (kind, reason, names)
        for kind, of_kind in (("left out", report["left_out"]), ("kept", report["notes"]))
        for reason, names in of_kind.items()
    ]
    rows = [(reason, kind, len(names)) for kind, reason, names in entries]
    before, past = (report["n_cut_off"][name] for name in ("before", "past"))
    rows += [
        (f"labelled segments {where}", "cut off", n)
        for where, n in (("before the audio", before), ("after its end", past))
        if n
    ]
    if not rows:
        return elements.paragraph("Nothing: every labelled song is here as it was found.")
    lists = [
        elements.details(f"{kind}: {reason} ({len(names):,})", elements.paragraph(_named(names)))
        for kind, reason, names in entries
    ]
    head = ["what", "done", "number"]
    caption = "What was left out, cut off or repaired"
    return elements.table(head, rows, caption=caption) + "".join(lists)


def source(facts: Mapping[str, Any]) -> str:
    """Where the data set comes from, and how to cite it."""
    parts = [elements.prose(text) for text in facts["description"].split("\n\n") if text]
    if facts["citation"]:
        parts += [elements.paragraph("To cite:"), elements.code(facts["citation"])]
    return "".join(parts) or elements.paragraph("The data set describes no source.")


def _summaries(facts: Mapping[str, Any]) -> dict[str, LabelSummary]:
    return {
        song: LabelSummary.from_json(values) for song, values in facts["report"]["labels"].items()
    }


def constant_of(facts: Mapping[str, Any]) -> np.ndarray:
    """The mean (V,) of the training songs' labels: what the `constant` model predicts."""
    of_songs = _summaries(facts)
    return mean_of(of_songs[song] for song in facts["splits"].get("train", ()))


def _split_row(
    name: str,
    ids: Sequence[str],
    n_segments: Mapping[str, int],
    of_songs: Mapping[str, LabelSummary],
) -> list[str]:
    total = sum(n_segments[song] for song in ids)
    chosen = [of_songs[song] for song in ids]
    mean_V, std_V = mean_of(chosen), _std_of(chosen)
    spread = [
        f"{decimals(mean)} ± {std:.2f}" if np.isfinite(mean) else "–"
        for mean, std in zip(mean_V, std_V, strict=True)
    ]
    minutes = total * SEGMENT_SECONDS / 60
    return [name, f"{len(ids):,}", f"{total:,}", f"{minutes:,.1f}", *spread]


def _std_of(summaries: Sequence[LabelSummary]) -> np.ndarray:
    """Standard deviation (V,) over all labels: within songs and between them."""
    n_SxV = np.array([s.n_V for s in summaries], float)
    mean_SxV, std_SxV = (
        np.nan_to_num([getattr(s, name) for s in summaries]) for name in ("mean_V", "std_V")
    )
    mean_V, total_V = np.nan_to_num(mean_of(summaries)), np.maximum(n_SxV.sum(axis=0), 1)
    return np.sqrt((n_SxV * (std_SxV**2 + (mean_SxV - mean_V) ** 2)).sum(axis=0) / total_V)


def _plane(facts: Mapping[str, Any], of_songs: Mapping[str, LabelSummary]) -> str:
    mean_SxV = np.array([s.mean_V for s in of_songs.values()])
    label = f"Labels of {len(of_songs)} songs on the plane of valence and arousal"
    chart = Chart(label, axes.scale("valence"), axes.scale("arousal"), height=428)
    chart.density(np.array(facts["report"]["plane"]), "ours", name="segments")
    chart.points(mean_SxV[:, 0], mean_SxV[:, 1], "plain", name="songs' means")
    chart.cross()
    for words in QUADRANTS:
        chart.words(*place(words), words)
    return elements.figure(
        chart.svg(),
        "Labels on the plane. Stronger cells hold more segments, a dot is a song's mean.",
    )


def _levels(facts: Mapping[str, Any], of_songs: Mapping[str, LabelSummary]) -> list[str]:
    """Histograms of all labels, from the plane's margins."""
    plane = np.array(facts["report"]["plane"])
    edges = np.linspace(-1, 1, len(plane) + 1)
    figures = []
    for v, name in enumerate(DIMENSIONS):
        counts = plane.sum(axis=1 - v)
        y = axes.linear([0, counts.max()], "segments")
        chart = Chart(f"Histogram of {name} labels", axes.scale(name), y)
        chart.bars(edges, counts, name)
        figures.append(elements.figure(chart.svg(), f"{name.capitalize()} of all segments."))
    return figures


def _durations(facts: Mapping[str, Any]) -> str:
    seconds = SEGMENT_SECONDS * np.array(list(facts["n_segments"].values()))
    low, high = seconds.min(), seconds.max()
    if high - low < 1:
        low, high = max(low - 5, 0), high + 5
    counts, edges = np.histogram(seconds, bins=np.linspace(low, high, 21))
    y = axes.linear([0, counts.max()], "songs")
    chart = Chart("Histogram of labelled durations", axes.time(low, high, "labelled duration"), y)
    chart.bars(edges, counts, "plain")
    middle = clock(float(np.median(seconds)))
    caption = f"Labelled duration of the songs, from first to last label; median {middle}."
    return elements.figure(chart.svg(), caption)


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
