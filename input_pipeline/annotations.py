"""Label files: valence and arousal curves in DEAM's CSV form, checked and aligned.

A file has a row per song and a column per time: `song_id,sample_15000ms,sample_15500ms,...`. The
column at time t is the label of the segment [t, t + 0.5) s. Files need not be perfect:

- Accepted: a byte-order mark, CRLF, spaces around cells, ids such as `2.0`, columns in any order,
  rows that end early, blank or NaN cells (no label).
- Rejected, with file, line and column: anything else in a cell, infinities, values outside the
  scale, duplicate ids or times, a row longer than the header, times that are not multiples of
  0.5 s, a file without a header.
- Rejected with what they are: tables of another form (with an index, transposed, with a row per
  time), and files of another kind (see `csv_files`).
"""

import dataclasses
import math
import os
import re
import unicodedata
from collections.abc import Mapping

import numpy as np

from input_pipeline.csv_files import LabelError as LabelError
from input_pipeline.csv_files import rows
from input_pipeline.label_header import are_times, segments_of_columns

# The longest name that file systems allow.
_MAX_ID_LENGTH = 255


@dataclasses.dataclass(frozen=True)
class Scale:
    """The range of a file's values, mapped linearly to [-1, 1]."""

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.high - self.low) and self.low < self.high):
            raise ValueError(f"scale: low {self.low:g} must be below high {self.high:g}")

    def apply(self, value: float) -> float:
        return 2 * (value - self.low) / (self.high - self.low) - 1

    def contains(self, value: float) -> bool:
        return self.low - 1e-6 <= value <= self.high + 1e-6


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of a song over consecutive segments.

    Attributes:
      first_segment: index of the first segment; it starts at 0.5 · first_segment seconds.
      values_TxV: float32 valence and arousal in [-1, 1]; 0 where the mask is false.
      mask_TxV: bool, true where there is a label.
    """

    first_segment: int
    values_TxV: np.ndarray
    mask_TxV: np.ndarray

    def __len__(self) -> int:
        return len(self.values_TxV)

    def head(self, n_segments: int) -> "Labels":
        """The labels of the first `n_segments`."""
        return Labels(self.first_segment, self.values_TxV[:n_segments], self.mask_TxV[:n_segments])

    def after(self, n_segments: int) -> "Labels":
        """The labels of all but the first `n_segments`."""
        first = self.first_segment + n_segments
        return Labels(first, self.values_TxV[n_segments:], self.mask_TxV[n_segments:])


# Values by segment index, without NaN: a segment without a label is absent.
Curve = dict[int, float]


def read_curves(
    path: str | os.PathLike, *, scale: Scale | None = None, start_time: float | None = None
) -> dict[str, Curve]:
    """Reads a label file: the curve of every song, by song id.

    Args:
      path: the CSV file.
      scale: the range of its values; [-1, 1] by default.
      start_time: time of the first column in seconds; the columns are then taken to be 0.5 s apart,
        whatever their names. By default, times come from names such as `sample_15000ms`.

    Raises:
      LabelError: see the module's docstring.
    """
    scale = scale or Scale()
    curves: dict[str, Curve] = {}
    lines = rows(path)
    line, header = next(lines, (1, []))
    columns = segments_of_columns(path, line, header, start_time)
    for line, row in lines:
        if len(row) > len(header):
            raise LabelError(
                f"{path}:{line}:{len(header) + 1}: the header has only {len(header)} columns"
            )
        song_id = song_id_of(row[0], f"{path}:{line}:1")
        if song_id in curves:
            raise LabelError(f"{path}:{line}:1: song {song_id} occurs twice")
        curve = {}
        for column, (segment, cell) in enumerate(zip(columns, row[1:], strict=False), start=2):
            value = label(cell, scale, f"{path}:{line}:{column}")
            if not math.isnan(value):
                curve[segment] = value
        curves[song_id] = curve
    if not curves:
        raise LabelError(f"{path}:1: no songs in the file")
    if are_times(list(curves)):
        raise LabelError(
            f"{path}: the first column, {header[0]!r}, holds times and not song ids: the table is "
            f"transposed; it must have a row per song"
        )
    return curves


def align(valence: Mapping[str, Curve], arousal: Mapping[str, Curve]) -> "Alignment":
    """Joins both curves of every song, over the span that both cover.

    The span is from the later of the two first labels to the earlier of the two last ones, so that
    a stray value far beyond the end of one curve does not extend it. Missing labels inside the span
    are masked.
    """
    labels, unequal, interior, unlabelled = {}, [], [], []
    for song_id in sorted(valence.keys() & arousal.keys(), key=natural_key):
        curves = valence[song_id], arousal[song_id]
        if not all(curves):
            unlabelled.append(song_id)
            continue
        first, last = max(map(min, curves)), min(map(max, curves))
        if set(curves[0]) != set(curves[1]):
            unequal.append(song_id)
        if any(len(curve) != max(curve) - min(curve) + 1 for curve in curves):
            interior.append(song_id)
        if first > last:
            unlabelled.append(song_id)
            continue
        span = range(first, last + 1)
        values = np.array([[c.get(i, np.nan) for c in curves] for i in span], np.float32)
        mask = ~np.isnan(values)
        labels[song_id] = Labels(first, np.where(mask, values, 0).astype(np.float32), mask)
    return Alignment(
        labels=labels,
        unequal_lengths=unequal,
        interior_gaps=interior,
        unlabelled=unlabelled,
        valence_only=sorted(valence.keys() - arousal.keys(), key=natural_key),
        arousal_only=sorted(arousal.keys() - valence.keys(), key=natural_key),
    )


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Labels by song id, and the ids of songs with irregularities.

    Attributes:
      labels: of the songs with both curves.
      unequal_lengths: the two curves do not cover the same segments; the common span is kept.
      interior_gaps: a label is missing between two others.
      unlabelled: both rows exist, but have no segment in common.
      valence_only, arousal_only: only one of the files has the song.
    """

    labels: dict[str, Labels]
    unequal_lengths: list[str]
    interior_gaps: list[str]
    unlabelled: list[str]
    valence_only: list[str]
    arousal_only: list[str]


def read_labels(
    directory: str | os.PathLike, *, scale: Scale | None = None, start_time: float | None = None
) -> Alignment:
    """Reads and aligns `valence.csv` and `arousal.csv` of a directory; see `read_curves`."""
    valence, arousal = (
        read_curves(os.path.join(directory, name), scale=scale, start_time=start_time)
        for name in ("valence.csv", "arousal.csv")
    )
    return align(valence, arousal)


def canonical_id(cell: str) -> str:
    """A song id as text; integers that a spreadsheet has written as `2.0` are restored.

    Accented letters are composed (Unicode NFC): macOS decomposes them in the names of files.
    """
    return re.sub(r"^(\d+)\.0+$", r"\1", unicodedata.normalize("NFC", cell.strip()))


def song_id_of(cell: str, place: str) -> str:
    """The song id in a cell.

    Raises:
      LabelError: the cell does not contain one.
    """
    song_id = canonical_id(cell)
    if not song_id:
        raise LabelError(f"{place}: no song id")
    if len(song_id) > _MAX_ID_LENGTH or not song_id.isprintable():
        raise LabelError(f"{place}: {song_id[:40]!r} is not a song id")
    return song_id


def natural_key(song_id: str) -> tuple:
    """A sort key: ids that are numbers by value, before all others."""
    return (0, int(song_id), song_id) if song_id.isdecimal() else (1, 0, song_id)


def label(cell: str, scale: Scale, place: str) -> float:
    """The label in a cell, mapped to [-1, 1]; NaN if the cell is blank or NaN.

    Raises:
      LabelError: not a number within the scale.
    """
    value = number(cell, place)
    if math.isnan(value):
        return value
    if not scale.contains(value):
        raise LabelError(f"{place}: {cell} is outside [{scale.low:g}, {scale.high:g}]")
    return min(max(scale.apply(value), -1.0), 1.0)


def number(cell: str, place: str) -> float:
    """The value of a cell; NaN if the cell is blank or NaN.

    Raises:
      LabelError: not a finite number.
    """
    if not cell or cell.lower() in ("nan", "na"):
        return math.nan
    # float() also accepts '1_0', 'infinity' and digits of other scripts.
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell, re.ASCII):
        comma = re.fullmatch(r"[+-]?\d*,\d+", cell)
        remedy = "; write a decimal point, not a comma" if comma else ""
        raise LabelError(f"{place}: {cell[:40]!r} is not a number{remedy}")
    value = float(cell)
    if not math.isfinite(value):
        raise LabelError(f"{place}: {cell[:40]!r} is not finite")
    return value
