"""The page of a song's curve: one HTML file with player, chart, plane, summary and downloads.

It loads nothing from elsewhere but the song, which is linked or embedded.
"""

import base64
import dataclasses
import html
import mimetypes
import os
import urllib.parse
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report import document, spectrogram
from damff_jax.report.summary import QUADRANTS, Summary, clock
from damff_jax.system.command_line import printable
from damff_jax.system.files import atomic_write

_SCRIPTS = ("theme.js", "chart.js", "player.js", "song.js")
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


class Band(Protocol):
    """Where the ratings are expected: a share `level` of them, within limits (T, 2)."""

    level: float
    low_TxV: np.ndarray
    high_TxV: np.ndarray


class Curve(Protocol):
    """A song's curve, as the page needs it; see the attributes of a prediction."""

    source: str
    model: str
    times: np.ndarray
    valence: np.ndarray
    arousal: np.ndarray
    band: Band | None
    lag_s: float | None
    unlikeness: float | None
    remarks: Sequence[str]


class Download(NamedTuple):
    """A file that the page holds.

    Attributes:
      label: of its button.
      purpose: what the file is for.
      suffix: of its name, such as `.csv`.
      media_type: such as `text/csv`.
      text: its content.
    """

    label: str
    purpose: str
    suffix: str
    media_type: str
    text: str


@dataclasses.dataclass(frozen=True)
class Details:
    """What a page shows besides the curve.

    Attributes:
      name: of the song, from its tags; by default that of its file.
      artist: from its tags.
      picture: the log-Mel as (rows, columns) of uint8, see `spectrogram.Thumbnail`.
      context_s: seconds at the start and at the end where the model had less context.
      model: facts about the model, by their name.
      downloads: files that the page holds.
      embed_audio: the page holds the song itself, instead of a link to its file.
    """

    name: str = ""
    artist: str = ""
    picture: np.ndarray | None = None
    context_s: tuple[float, float] = (0.0, 0.0)
    model: Mapping[str, str] = dataclasses.field(default_factory=dict)
    downloads: Sequence[Download] = ()
    embed_audio: bool = False


def write(path: str | os.PathLike[str], curve: Curve, details: Details | None = None) -> None:
    """Writes the page of a curve.

    A link to the song is relative to the page's folder, so that both can be moved together.

    Raises:
      OSError: the page cannot be written, or the song to be embedded cannot be read.
    """
    page = text(curve, details or Details(), folder=Path(path).parent, stem=Path(path).stem)
    # Names may hold bytes that are no text; `printable` has escaped those that are shown.
    with atomic_write(path) as file:
        file.write(page)


def text(curve: Curve, details: Details, *, folder: Path, stem: str) -> str:
    """The page as HTML, for a file in `folder`; its downloads are named after `stem`."""
    file_name = printable(os.path.basename(curve.source))
    name = printable(details.name) or file_name
    seconds = SEGMENT_SECONDS * len(curve.times)
    values_TxV = np.stack([curve.valence, curve.arousal], axis=1)
    summary = Summary.of(curve.times, values_TxV)
    facts = [file_name] if name != file_name else []
    facts += [clock(seconds), f"{len(curve.times):,} values, one every {SEGMENT_SECONDS:g} s"]
    byline = f'<p class="byline"><bdi>{_escape(details.artist)}</bdi></p>' if details.artist else ""
    stem = printable(stem)
    return document.render(
        "song.html",
        title=f"{name}: valence and arousal",
        scripts=_SCRIPTS,
        data=_data(curve, details, seconds, stem),
        name=_escape(name),
        byline=byline,
        meta=" · ".join(f"<bdi>{_escape(fact)}</bdi>" for fact in facts),
        notices=_notices(curve),
        audio=_audio(curve.source, folder, embed=details.embed_audio),
        no_sound=_no_sound(curve.source, file_name),
        duration=f"{seconds:g}",
        end=clock(seconds),
        lag=_lag_switch(curve.lag_s),
        caption=_caption(summary, curve, seconds),
        plane_caption=_plane_caption(len(curve.times)),
        summary=_ranges(summary) + _shares(summary),
        notes=_list(_notes(curve, details)),
        model="".join(
            f"<dt>{_escape(key)}</dt><dd>{_escape(value)}</dd>"
            for key, value in details.model.items()
        ),
        downloads=_buttons(details.downloads, stem),
        n=f"{len(curve.times):,}",
        table=_table(curve),
        spectrogram=_picture(details.picture),
    )


def _data(curve: Curve, details: Details, seconds: float, stem: str) -> dict[str, Any]:
    """What the script needs."""
    band = None
    if curve.band is not None:
        sides = {"low": curve.band.low_TxV, "high": curve.band.high_TxV}
        band = {
            f"{name}_{side}": _rounded(x_TxV[:, v])
            for v, name in enumerate(DIMENSIONS)
            for side, x_TxV in sides.items()
        }
    return {
        "hop": SEGMENT_SECONDS,
        "n": len(curve.times),
        "duration": seconds,
        "valence": _rounded(curve.valence),
        "arousal": _rounded(curve.arousal),
        "band": band,
        "lag": curve.lag_s or 0,
        "context": details.context_s,
        "downloads": {
            f"{stem}{download.suffix}": {
                "type": download.media_type,
                "deflated": base64.b64encode(zlib.compress(download.text.encode(), 9)).decode(),
            }
            for download in details.downloads
        },
    }


def _rounded(x_T: np.ndarray) -> list[float]:
    return [round(float(x), 4) for x in x_T]


def _escape(text: str) -> str:
    return html.escape(printable(text))


# The song ----------------------------------------------------------------------------------------


def _audio(source: str, folder: Path, *, embed: bool) -> str:
    """The attributes of the audio element."""
    if not source:
        return ""
    if embed:
        suffix = Path(source).suffix.lower()
        kind = _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(source)[0] or "audio/*"
        address = document.data_uri(Path(source).read_bytes(), kind)
    else:
        address = _link(source, folder)
    return document.attributes({"src": address})


def _link(source: str, folder: Path) -> str:
    """The address of a file from a page in a folder."""
    try:
        relative = os.path.relpath(os.path.abspath(source), os.path.abspath(folder))
    except ValueError:  # On another drive.
        return Path(os.path.abspath(source)).as_uri()
    # `./` because a name with a colon would be taken for a scheme.
    return "./" + urllib.parse.quote(os.fsencode(relative.replace(os.sep, "/")))


def _no_sound(source: str, file_name: str) -> str:
    if not source:
        return "This curve has no sound file."
    return (
        f"There is no sound: <bdi>{_escape(file_name)}</bdi> is not where it was, or this browser "
        "does not play its format."
    )


def _picture(levels: np.ndarray | None) -> str:
    if levels is None:
        return ""
    source = document.data_uri(spectrogram.png(levels), "image/png")
    return f'<img id="spectrogram" src="{source}" alt="" hidden>'


# Texts -------------------------------------------------------------------------------------------


def _notices(curve: Curve) -> str:
    notices = list(curve.remarks)
    if curve.unlikeness is not None and curve.unlikeness > 1:
        notices.insert(
            0,
            "This file is unlike the training songs: the curve is not reliable "
            f"(unlikeness {curve.unlikeness:.1f}, where 1 is the limit).",
        )
    return "".join(f'<p class="notice" role="note">{_escape(notice)}</p>' for notice in notices)


def _lag_switch(lag_s: float | None) -> str:
    if not lag_s:
        return ""
    return f'<label><input type="checkbox" id="lag"> Take out the lag of {lag_s:g} s</label>'


def _caption(summary: Summary, curve: Curve, seconds: float) -> str:
    """What the chart shows, also for those who do not see it."""
    parts = [
        f"{name} from {signed(r.low)} to {signed(r.high)}, mean {signed(r.mean)}"
        for name, r in summary.ranges.items()
    ]
    what = f"Over {clock(seconds)}: {'; '.join(parts)}."
    if curve.band is not None:
        what += f" The bands should hold {100 * curve.band.level:.0f} % of the ratings."
    return _escape(f"{what} Behind the curves: the log-Mel spectrogram, low sounds at the bottom.")


def _plane_caption(n_segments: int) -> str:
    # As in `pathOf` of the script.
    size = -(-n_segments // 720)
    averaged = f", averaged over {size * SEGMENT_SECONDS:g} s" if size > 1 else ""
    return f"The path from start to end{averaged}. Click it to go to that moment."


def _notes(curve: Curve, details: Details) -> list[str]:
    notes = [
        "Valence runs from −1, unpleasant, to +1, pleasant; arousal from −1, calm, to +1, energetic. "
        "They say how listeners would rate the music, not how you must feel about it.",
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
    if any(details.context_s):
        start, end = details.context_s
        ends = [f"first {start:g} s"] * (start > 0) + [f"last {end:g} s"] * (end > 0)
        notes.append(f"Hatched: in the {' and the '.join(ends)} the model has less context.")
    if curve.band is not None:
        notes.append(
            f"On songs that were not trained on, the band held {100 * curve.band.level:.0f} % of the "
            "ratings. It says nothing about songs unlike those."
        )
    return notes


def _list(texts: Sequence[str]) -> str:
    return "\n".join(f"<li>{_escape(text)}</li>" for text in texts)


def signed(x: float) -> str:
    """A value with two decimals and its sign, as `signed` of the script writes it."""
    return f"{'−' if x < 0 else '+'}{abs(x):.2f}"


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


def _buttons(downloads: Sequence[Download], stem: str) -> str:
    return "\n".join(
        f'<li><button type="button"{document.attributes({"data-download": stem + download.suffix})}>'
        f'{_escape(download.label)}</button> <span class="hint">{_escape(download.purpose)}</span></li>'
        for download in downloads
    )


def _table(curve: Curve) -> str:
    names = ["time (s)", *DIMENSIONS]
    columns = [curve.valence, curve.arousal]
    if curve.band is not None:
        names += [f"{name}, {side}" for name in DIMENSIONS for side in ("low", "high")]
        for v in range(len(DIMENSIONS)):
            columns += [curve.band.low_TxV[:, v], curve.band.high_TxV[:, v]]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    # HTML lets the ends of cells and rows be left out, which saves a third of an hour's table.
    body = "\n".join(
        f'<tr><th scope="row">{time:.1f}' + "".join(f"<td>{x:.3f}" for x in row)
        for time, *row in zip(curve.times, *columns, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
