"""Labels in one long table, with a row for every song and time, checked and aligned.

    musicId,frameTime,Arousal(mean),Valence(mean)
    1,15.0,0.4,0.55
    1,15.5,0.425,0.55

A row at time t, in seconds, labels the segment [t, t + 0.5) s. Rows may be in any order, other
columns are ignored, and blank or NaN cells are missing labels. Cells are checked as in
`annotations`; a column that is missing or occurs twice, a time that is not a multiple of 0.5 s, and
two rows for the same song and time are errors too.
"""

import math
import os
from collections.abc import Sequence

from input_pipeline.annotations import Alignment, Curve, Scale, align, label, number, song_id_of
from input_pipeline.csv_files import LabelError, rows
from input_pipeline.label_header import SEGMENT_MS

# As many milliseconds as `annotations` accepts in the name of a column.
_MAX_MS = 999_999_999


def read_table(
    path: str | os.PathLike,
    *,
    song_id: str,
    time: str,
    valence: str,
    arousal: str,
    scale: Scale | None = None,
) -> Alignment:
    """Reads and aligns a table.

    Args:
      song_id, time, valence, arousal: names of the columns.
      scale: the range of the values; [-1, 1] by default.

    Raises:
      LabelError: see the module's docstring.
    """
    scale = scale or Scale()
    lines = rows(path)
    first_line, header = next(lines, (1, []))
    columns = _columns(f"{path}:{first_line}", header, (song_id, time, valence, arousal))
    curves: tuple[dict[str, Curve], dict[str, Curve]] = ({}, {})
    seen: set[tuple[str, int]] = set()
    for line, row in lines:
        if len(row) > len(header):
            raise LabelError(f"{path}:{line}: the header has only {len(header)} columns")
        row += [""] * (len(header) - len(row))
        places = [f"{path}:{line}:{column + 1}" for column in columns]
        cells = [row[column] for column in columns]
        song = song_id_of(cells[0], places[0])
        segment = _segment(cells[1], places[1])
        if (song, segment) in seen:
            raise LabelError(f"{places[1]}: song {song} already has a row for {cells[1]} s")
        seen.add((song, segment))
        for curve_of, cell, place in zip(curves, cells[2:], places[2:], strict=True):
            curve = curve_of.setdefault(song, {})
            value = label(cell, scale, place)
            if not math.isnan(value):
                curve[segment] = value
    if not seen:
        raise LabelError(f"{path}:{first_line}: no songs in the file")
    return align(*curves)


def _columns(place: str, header: list[str], names: Sequence[str]) -> list[int]:
    for name in names:
        if header.count(name) != 1:
            how = "occurs twice" if name in header else "is missing"
            raise LabelError(f"{place}: column {name!r} {how}; found: {', '.join(header)[:200]}")
    return [header.index(name) for name in names]


def _segment(cell: str, place: str) -> int:
    """The segment that begins at a time in seconds."""
    time_ms = 1000 * number(cell, place)
    if math.isnan(time_ms):
        raise LabelError(f"{place}: no time")
    # It may have been rounded, as in 15.4999999.
    if abs(time_ms - SEGMENT_MS * round(time_ms / SEGMENT_MS)) > 1e-2 or not (
        0 <= time_ms <= _MAX_MS
    ):
        raise LabelError(f"{place}: {cell} s is not a multiple of 0.5 s, 0 or later")
    return round(time_ms / SEGMENT_MS)
