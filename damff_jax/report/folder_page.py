"""The index of a folder of curves: `index.html` for people, and `summary.csv` for programs."""

import csv
import dataclasses
import html
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report import document
from damff_jax.report.song_page import signed
from damff_jax.report.summary import QUADRANTS, Summary, clock
from damff_jax.system.command_line import printable
from damff_jax.system.files import atomic_write

# The files' names, without their suffixes; no song's files may be called so.
INDEX, SUMMARY = "index", "summary"
_SPARK_POINTS = 80
HEADER = (
    *("file", "status", "name", "artist", "page", "seconds"),
    *(f"{name}_{what}" for name in ("valence", "arousal") for what in ("mean", "low", "high")),
    *QUADRANTS,
    *("unlikeness", "remarks"),
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A song of the folder, in a few numbers.

    Attributes:
      source: the path of the audio file.
      name, artist: as on the song's page.
      page: the name of the song's page.
      seconds: its length.
      summary: of its curve.
      spark_PxV: its curve with at most 80 points.
      unlikeness, remarks: as of the song's curve.
    """

    source: str
    name: str
    artist: str
    page: str
    seconds: float
    summary: Summary
    spark_PxV: np.ndarray
    unlikeness: float | None
    remarks: tuple[str, ...]

    @classmethod
    def of(
        cls,
        source: str,
        page: str,
        times_T: np.ndarray,
        curve_TxV: np.ndarray,
        *,
        name: str = "",
        artist: str = "",
        unlikeness: float | None = None,
        remarks: Sequence[str] = (),
    ) -> "Entry":
        """The entry of a song with a page."""
        parts = np.array_split(curve_TxV, min(_SPARK_POINTS, len(curve_TxV)))
        return cls(
            source=source,
            name=printable(name) or printable(os.path.basename(source)),
            artist=printable(artist),
            page=page,
            seconds=SEGMENT_SECONDS * len(times_T),
            summary=Summary.of(times_T, curve_TxV),
            spark_PxV=np.array([part.mean(axis=0) for part in parts]),
            unlikeness=unlikeness,
            remarks=tuple(remarks),
        )

    @property
    def mostly(self) -> tuple[str, float]:
        """The quadrant in which the song spends most of its time, and its share."""
        return max(self.summary.shares.items(), key=lambda item: item[1])


def write(
    folder: str | os.PathLike[str],
    entries: Sequence[Entry],
    failures: Mapping[str, str],
    *,
    model: str,
) -> None:
    """Writes `index.html` and `summary.csv` into a folder.

    Args:
      entries: the songs that have a page in the folder.
      failures: why there is none, by the path of the file.
      model: one line about how the model was trained.

    Raises:
      OSError: a file cannot be written.
    """
    with atomic_write(Path(folder) / f"{INDEX}.html") as file:
        file.write(text(folder, entries, failures, model=model))
    with atomic_write(Path(folder) / f"{SUMMARY}.csv", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(map(_row, entries))
        blank = [""] * (len(HEADER) - 3)
        writer.writerows(
            [printable(path), "failed", *blank, printable(why)] for path, why in failures.items()
        )


def _row(entry: Entry) -> list[str]:
    ranges = entry.summary.ranges.values()
    return [
        printable(entry.source),
        "done",
        entry.name,
        entry.artist,
        printable(entry.page),
        f"{entry.seconds:.1f}",
        *(f"{x:.4f}" for r in ranges for x in (r.mean, r.low, r.high)),
        *(f"{share:.4f}" for share in entry.summary.shares.values()),
        "" if entry.unlikeness is None else f"{entry.unlikeness:.3f}",
        "; ".join(map(printable, entry.remarks)),
    ]


def text(
    folder: str | os.PathLike[str],
    entries: Sequence[Entry],
    failures: Mapping[str, str],
    *,
    model: str,
) -> str:
    """The index as HTML; for the arguments see `write`."""
    name = printable(os.path.basename(os.path.abspath(folder)))
    total = clock(sum(entry.seconds for entry in entries))
    unlike = sum(map(_is_unlike, entries))
    counts = [f"<b>{len(entries):,}</b> {'song' if len(entries) == 1 else 'songs'}"]
    counts += [f"<b>{total}</b> of music"]
    counts += [f"<b>{unlike:,}</b> unlike the training songs"] * bool(unlike)
    counts += [f'<a href="#failed-title"><b>{len(failures):,}</b> failed</a>'] * bool(failures)
    return document.render(
        "folder.html",
        title=f"{name}: valence and arousal of {len(entries):,} songs",
        scripts=("theme.js", "folder.js"),
        name=html.escape(name),
        model=html.escape(model),
        numbers="".join(f"<span>{count}</span>" for count in counts),
        map=_map(entries),
        rows="\n".join(map(_table_row, entries)),
        failed=_failed(failures),
    )


def _is_unlike(entry: Entry) -> bool:
    return entry.unlikeness is not None and entry.unlikeness > 1


def _address(page: str) -> str:
    return html.escape("./" + urllib.parse.quote(os.fsencode(page)))


def _table_row(entry: Entry) -> str:
    means = [entry.summary.ranges[name].mean for name in ("valence", "arousal")]
    words, share = entry.mostly
    badges = []
    if _is_unlike(entry):
        badges.append('<span class="badge">unlike the training songs</span>')
    if entry.remarks:
        remarks = html.escape("; ".join(map(printable, entry.remarks)))
        badges.append(f'<span class="badge">{remarks}</span>')
    artist = f'<div class="hint"><bdi>{html.escape(entry.artist)}</bdi></div>'
    cells = [
        f'<th scope="row" data-sort="{html.escape(entry.name.casefold())}">'
        f'<a href="{_address(entry.page)}"><bdi>{html.escape(entry.name)}</bdi></a>'
        f"{''.join(badges)}{artist if entry.artist else ''}</th>",
        f"<td>{_spark(entry.spark_PxV)}</td>",
        f'<td class="wide" data-sort="{entry.seconds:g}">{clock(entry.seconds)}</td>',
        *(f'<td data-sort="{mean:.6f}">{signed(mean)}</td>' for mean in means),
        f'<td class="wide text" data-sort="{words}">{words} {100 * share:.0f} %</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _spark(spark_PxV: np.ndarray) -> str:
    """Both curves from -1 to 1; hidden from those who hear the page, as its numbers stand beside."""
    n = len(spark_PxV)
    x_P = np.linspace(0, 100, n) if n > 1 else np.array([0.0])
    paths = ['<path class="zero" d="M0 10H100"/>']
    for v, name in enumerate(("valence", "arousal")):
        points = "L".join(
            f"{x:.1f} {10 * (1 - y):.1f}" for x, y in zip(x_P, spark_PxV[:, v], strict=True)
        )
        paths.append(f'<path class="{name}" d="M{points}"/>')
    return (
        '<svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(paths)}</svg>"
    )


def _map(entries: Sequence[Entry]) -> str:
    """All songs on the plane, each at its mean and linked to its page."""
    radius = 1.6 if len(entries) <= 60 else 1.0
    parts = ['<path class="frame" d="M0 0H100V100H0ZM50 0V100M0 50H100"/>']
    for words, (is_pleasant, is_energetic) in QUADRANTS.items():
        x, anchor = (98, "end") if is_pleasant else (2, "start")
        parts.append(
            f'<text x="{x}" y="{6 if is_energetic else 97}" text-anchor="{anchor}">{words}</text>'
        )
    for entry in entries:
        v, a = (entry.summary.ranges[name].mean for name in ("valence", "arousal"))
        label = html.escape(f"{entry.name}: valence {signed(v)}, arousal {signed(a)}")
        # Not in the order of the Tab key, because the table has the same links.
        parts.append(
            f'<a href="{_address(entry.page)}" tabindex="-1" aria-label="{label}">'
            f'<circle cx="{50 + 50 * v:.2f}" cy="{50 - 50 * a:.2f}" r="{radius}">'
            f"<title>{label}</title></circle></a>"
        )
    return (
        '<svg class="map" viewBox="0 0 100 100" role="group" aria-labelledby="map-title">'
        f"{''.join(parts)}</svg>"
    )


def _failed(failures: Mapping[str, str]) -> str:
    if not failures:
        return ""
    items = "\n".join(
        f'<tr><th scope="row"><bdi>{html.escape(printable(path))}</bdi></th>'
        f'<td class="text">{html.escape(printable(why.removeprefix(f"{path}: ")))}</td></tr>'
        for path, why in failures.items()
    )
    return (
        '<section aria-labelledby="failed-title">'
        '<h2 id="failed-title" class="errors">Failed or left out</h2>'
        '<div class="scroll tall" tabindex="0" role="region" aria-labelledby="failed-title">'
        '<table class="songs"><thead><tr><th scope="col">File</th>'
        f'<th scope="col" class="text">Why</th></tr></thead><tbody>{items}</tbody></table>'
        "</div></section>"
    )
