"""The page of a song's curve: one HTML file with player, chart, plane, summary and downloads.

It loads nothing from elsewhere but the song, which is linked or embedded.
"""

import base64
import mimetypes
import os
import urllib.parse
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report import formats, spectrogram
from damff_jax.report.pages import document, elements
from damff_jax.report.quadrants import QUADRANTS
from damff_jax.report.summary import Summary
from damff_jax.report.text import clock, escape, signed
from damff_jax.system.command_line import printable
from damff_jax.system.files import atomic_write

if TYPE_CHECKING:
    from damff_jax.report.curve import Curve

_SCRIPTS = ("chart.js", "player.js", "song.js")
# Where the operating system's list of media types may be silent or says what browsers do not know.
_MEDIA_TYPES = {
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
}


class Download(NamedTuple):
    """A file that the page holds.

    Attributes:
      label: of its button.
      purpose: what the file is for.
      name: of the file.
      media_type: such as `text/csv`.
      text: its content.
    """

    label: str
    purpose: str
    name: str
    media_type: str
    text: str


def write(path: str | os.PathLike[str], curve: "Curve", *, embed_audio: bool = False) -> None:
    """Writes the page of a curve; its downloads are named after it.

    A link to the song is relative to the page's folder, so that both can be moved together.

    Args:
      embed_audio: the page holds the song itself, instead of a link to its file.

    Raises:
      OSError: the page cannot be written, or the song to be embedded cannot be read.
    """
    page = text(curve, folder=Path(path).parent, stem=Path(path).stem, embed_audio=embed_audio)
    with atomic_write(path) as file:
        file.write(page)


def text(curve: "Curve", *, folder: Path, stem: str, embed_audio: bool = False) -> str:
    """The page as HTML, for a file in `folder`; for the arguments see `write`."""
    name = printable(curve.name) or curve.title
    facts = [curve.title] if name != curve.title else []
    facts += [clock(curve.duration), f"{len(curve):,} values, one every {SEGMENT_SECONDS:g} s"]
    downloads = _downloads(curve, printable(stem))
    byline = f'<p class="byline"><bdi>{_escape(curve.artist)}</bdi></p>\n' * bool(curve.artist)
    meta = " · ".join(f"<bdi>{_escape(fact)}</bdi>" for fact in facts)
    return document.render(
        name,
        _main(curve, folder, downloads, embed_audio=embed_audio),
        title=f"{name}: valence and arousal",
        subtitle=f'{byline}<p class="meta">{meta}</p>',
        styles=("song.css",),
        scripts=_SCRIPTS,
        data=_data(curve, downloads),
    )


def _main(curve: "Curve", folder: Path, downloads: Sequence[Download], *, embed_audio: bool) -> str:
    summary = Summary.of(curve.times, curve.values)
    return document.filled(
        "song.html",
        notices="".join(elements.notice(printable(x)) for x in _notices(curve)),
        audio=_audio(curve.source, folder, embed=embed_audio),
        no_sound=_no_sound(curve),
        duration=f"{curve.duration:g}",
        end=clock(curve.duration),
        lag=_lag_switch(curve.lag_s),
        caption=_caption(summary, curve),
        plane_caption=_plane_caption(len(curve)),
        summary=_ranges(summary) + _shares(summary),
        notes="\n".join(f"<li>{_escape(note)}</li>" for note in _notes(curve)),
        model="".join(
            f"<dt>{_escape(key)}</dt><dd>{_escape(value)}</dd>"
            for key, value in curve.weights.items()
        ),
        downloads="\n".join(map(_button, downloads)),
        n=f"{len(curve):,}",
        table=_table(curve),
        spectrogram=_picture(curve.picture),
    )


def _data(curve: "Curve", downloads: Sequence[Download]) -> dict[str, Any]:
    """What the script needs."""
    limits = {} if curve.band is None else formats.csv.limits(curve.band)
    return {
        "hop": SEGMENT_SECONDS,
        "n": len(curve),
        "duration": curve.duration,
        "valence": _rounded(curve.valence),
        "arousal": _rounded(curve.arousal),
        "band": {name: _rounded(x_T) for name, x_T in limits.items()} or None,
        "lag": curve.lag_s or 0,
        "context": curve.context_s,
        "quadrants": QUADRANTS,
        "downloads": {
            download.name: {
                "type": download.media_type,
                "deflated": base64.b64encode(zlib.compress(download.text.encode(), 9)).decode(),
            }
            for download in downloads
        },
    }


def _downloads(curve: "Curve", stem: str) -> list[Download]:
    has_band = curve.band is not None
    return [
        Download("CSV", "a row per value, for spreadsheets", f"{stem}.csv", "text/csv",
                 formats.csv.text(curve, band=has_band)),
        Download("JSON", "everything that is known, for programs", f"{stem}.json",
                 "application/json", formats.json.text(curve)),
        Download("JAMS", "for music information retrieval", f"{stem}.jams", "application/json",
                 formats.jams.text(curve)),
        Download("Audacity labels", "a track of the quadrants", f"{stem}.labels.txt", "text/plain",
                 formats.audacity.text(curve)),
        Download("Sonic Visualiser", "two layers over the sound", f"{stem}.svl", "text/xml",
                 formats.sonic_visualiser.text(curve)),
    ]  # fmt: skip


def _rounded(x_T: np.ndarray) -> list[float]:
    return [round(float(x), 4) for x in x_T]


def _escape(text: str) -> str:
    return escape(printable(text))


# The song ----------------------------------------------------------------------------------------


def _audio(source: str, folder: Path, *, embed: bool) -> str:
    """The attributes of the audio element."""
    if embed:
        suffix = Path(source).suffix.lower()
        kind = _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(source)[0] or "audio/*"
        address = document.data_uri(Path(source).read_bytes(), kind)
    elif os.path.isfile(source):
        address = _link(source, folder)
    else:
        return ""
    return document.attributes({"src": address})


def _link(source: str, folder: Path) -> str:
    """The address of a file from a page in a folder."""
    try:
        relative = os.path.relpath(os.path.abspath(source), os.path.abspath(folder))
    except ValueError:  # On another drive.
        return Path(os.path.abspath(source)).as_uri()
    # `./` because a name with a colon would be taken for a scheme.
    return "./" + urllib.parse.quote(os.fsencode(relative.replace(os.sep, "/")))


def _no_sound(curve: "Curve") -> str:
    """What the page says if it cannot play."""
    if not os.path.isfile(curve.source):
        return "This page came without a sound file."
    return (
        f"There is no sound: <bdi>{_escape(curve.title)}</bdi> is not where it was, or this "
        "browser does not play its format."
    )


def _picture(levels: np.ndarray | None) -> str:
    if levels is None:
        return ""
    source = document.data_uri(spectrogram.png(levels), "image/png")
    return f'<img id="spectrogram" src="{source}" alt="" hidden>'


# Texts -------------------------------------------------------------------------------------------


def _notices(curve: "Curve") -> list[str]:
    """The remarks about the input, as sentences."""
    return [f"{remark[:1].upper()}{remark[1:].rstrip('.')}." for remark in curve.remarks]


def _lag_switch(lag_s: float | None) -> str:
    if not lag_s:
        return ""
    return f'<label><input type="checkbox" id="lag"> Take out the lag of {lag_s:g} s</label>'


def _caption(summary: Summary, curve: "Curve") -> str:
    """What the chart shows, also for those who do not see it."""
    parts = [
        f"{name} from {signed(r.low)} to {signed(r.high)}, mean {signed(r.mean)}"
        for name, r in summary.ranges.items()
    ]
    what = f"Over {clock(curve.duration)}: {'; '.join(parts)}."
    if curve.band is not None:
        what += f" The bands should hold {100 * curve.band.level:.0f} % of the ratings."
    return _escape(f"{what} Behind the curves: the log-Mel spectrogram, low sounds at the bottom.")


def _plane_caption(n_segments: int) -> str:
    # As in `pathOf` of the script.
    size = -(-n_segments // 720)
    averaged = f", averaged over {size * SEGMENT_SECONDS:g} s" if size > 1 else ""
    return f"The path from start to end{averaged}. Click it to go to that moment."


def _notes(curve: "Curve") -> list[str]:
    notes = [
        "Valence runs from −1, unpleasant, to +1, pleasant; arousal from −1, calm, to +1, "
        "energetic. They say how listeners would rate the music, not how you must feel about it.",
        f"The model was {curve.model}.",
        f"The curve has a value for every segment of {SEGMENT_SECONDS:g} s, drawn at the segment's "
        "middle. In the table and in the downloads, a time is the start of its segment.",
    ]
    if curve.lag_s is None:
        notes.append("How far these weights lag behind the sound has not been measured.")
    else:
        notes.append(
            f"The curve lags {curve.lag_s:g} s behind the sound: so much later it is half-way "
            "through a sudden change. The switch above the chart takes this out of what is drawn, "
            "but not out of the table and the downloads."
        )
    if any(curve.context_s):
        start, end = curve.context_s
        ends = [f"first {start:g} s"] * (start > 0) + [f"last {end:g} s"] * (end > 0)
        notes.append(f"Hatched: in the {' and the '.join(ends)} the model has less context.")
    if curve.band is not None:
        notes.append(
            f"The bands are as wide as it takes to hold {100 * curve.band.level:.0f} % of the "
            "ratings of songs that the model was not trained on. For songs unlike those they say "
            "nothing."
        )
    return notes


# Summary and table -------------------------------------------------------------------------------


def _ranges(summary: Summary) -> str:
    rows = "".join(
        f'<tr><th scope="row">{name.capitalize()}</th><td>{signed(r.mean)}</td>'
        f"<td>{signed(r.low)} {_moment(r.low_s)}</td>"
        f"<td>{signed(r.high)} {_moment(r.high_s)}</td></tr>"
        for name, r in summary.ranges.items()
    )
    names = ("Mean", "Lowest", "Highest")
    head = "<td></td>" + "".join(f'<th scope="col">{name}</th>' for name in names)
    table = f'<table class="ranges"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _moment(seconds: float) -> str:
    """A link that goes to a segment."""
    return f'<a href="#t={seconds:g}" data-moment="{seconds:g}">{clock(seconds, decimals=1)}</a>'


def _shares(summary: Summary) -> str:
    items = []
    for words, (is_pleasant, is_energetic) in QUADRANTS.items():
        share = 100 * summary.shares[words]
        signs = f"{'+−'[not is_pleasant]}V {'+−'[not is_energetic]}A"
        items.append(
            f'<li><span>{words} <span class="hint">{signs}</span></span>'
            f'<span class="bar"><i style="width: {share:.1f}%"></i></span><b>{share:.0f} %</b></li>'
        )
    return f'<ul class="shares" aria-label="Share of the time by quadrant">{"".join(items)}</ul>'


def _button(download: Download) -> str:
    return (
        f'<li><button type="button"{document.attributes({"data-download": download.name})}>'
        f'{download.label}</button> <span class="hint">{download.purpose}</span></li>'
    )


def _table(curve: "Curve") -> str:
    columns = {"time (s)": curve.times, "valence": curve.valence, "arousal": curve.arousal}
    if curve.band is not None:
        limits = formats.csv.limits(curve.band)
        columns |= {name.replace("_", ", "): x_T for name, x_T in limits.items()}
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    # HTML lets the ends of cells and rows be left out, which saves a third of an hour's table.
    body = "\n".join(
        f'<tr><th scope="row">{time:.1f}' + "".join(f"<td>{x:.3f}" for x in row)
        for time, *row in zip(*columns.values(), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
