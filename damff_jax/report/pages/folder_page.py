"""The index of a folder as a page: its songs in a table and on the plane, and what failed."""

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from damff_jax.report.pages import document, elements
from damff_jax.report.quadrants import QUADRANTS
from damff_jax.report.text import clock, escape, signed
from damff_jax.system.command_line import printable

if TYPE_CHECKING:
    from damff_jax.report.folder import Entry


def text(name: str, entries: Sequence["Entry"], failures: Mapping[str, str], *, model: str) -> str:
    """The page as HTML.

    Args:
      name: of the folder.
      entries, failures: see `folder.Folder`.
      model: one line about how the model was trained.
    """
    total = clock(sum(entry.seconds for entry in entries))
    unlike = sum(entry.is_unlike for entry in entries)
    counts = [f"<b>{len(entries):,}</b> {'song' if len(entries) == 1 else 'songs'}"]
    counts += [f"<b>{total}</b> of music"]
    counts += [f"<b>{unlike:,}</b> unlike the training songs"] * bool(unlike)
    counts += [f'<a href="#failed-title"><b>{len(failures):,}</b> failed</a>'] * bool(failures)
    main = document.filled(
        "folder.html",
        model=escape(model),
        totals="".join(f"<span>{count}</span>" for count in counts),
        map=_map(entries),
        rows="\n".join(map(_table_row, entries)),
        failed=_failed(failures),
    )
    return document.render(
        name,
        main,
        title=f"{name}: valence and arousal of {len(entries):,} songs",
        subtitle='<p class="meta">Valence and arousal of the songs in this folder</p>',
        styles=("folder.css",),
        scripts=("folder.js",),
    )


def _address(page: str) -> str:
    return escape("./" + urllib.parse.quote(os.fsencode(page)))


def _table_row(entry: "Entry") -> str:
    means = [entry.summary.ranges[name].mean for name in ("valence", "arousal")]
    words, share = entry.mostly
    badges = []
    if entry.is_unlike:
        badges.append('<span class="badge">unlike the training songs</span>')
    for remark in entry.remarks:
        if not remark.startswith("unlike"):
            badges.append(f'<span class="badge">{escape(printable(remark))}</span>')
    artist = f'<div class="hint"><bdi>{escape(entry.artist)}</bdi></div>'
    cells = [
        f'<th scope="row" data-sort="{escape(entry.name.casefold())}">'
        f'<a href="{_address(entry.page)}"><bdi>{escape(entry.name)}</bdi></a>'
        f"{''.join(badges)}{artist if entry.artist else ''}</th>",
        f"<td>{_spark(entry.spark_PxV)}</td>",
        f'<td class="wide" data-sort="{entry.seconds:g}">{clock(entry.seconds)}</td>',
        *(f'<td data-sort="{mean:.6f}">{signed(mean)}</td>' for mean in means),
        f'<td class="wide text" data-sort="{words}">{words} {100 * share:.0f} %</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _spark(spark_PxV: np.ndarray) -> str:
    """Both curves from -1 to 1, without a text of their own: their means stand beside them."""
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


def _map(entries: Sequence["Entry"]) -> str:
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
        label = escape(f"{entry.name}: valence {signed(v)}, arousal {signed(a)}")
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
    rows = (
        (printable(path), printable(why.removeprefix(f"{path}: ")))
        for path, why in failures.items()
    )
    table = elements.table(["File", "Why"], rows, label="Failed or left out", numbers=False)
    return (
        '<section aria-labelledby="failed-title">'
        '<h2 id="failed-title" class="errors">Failed or left out</h2>'
        f"{table}</section>"
    )
