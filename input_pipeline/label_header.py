"""The header of a label file: the time of every column, or which other form the table has."""

import itertools
import math
import os
import re
from collections.abc import Sequence

from input_pipeline.csv_files import LabelError

SEGMENT_MS = 500
# Nine digits of milliseconds are eleven days; more must be a typing error.
_COLUMN = re.compile(r"sample_(\d{1,9})\s*ms", re.ASCII)
# Of a column's name; a longer one is damage, and would take long to analyse.
_LONGEST = 255
_FORM = "song_id,sample_15000ms,..."
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)
# A name that counts: text, a number, text without digits.
_COUNTING = re.compile(r"(.*?)(\d+\.?\d*|\.\d+)(\D*)", re.ASCII | re.DOTALL)
# Names as `_plain` writes them.
_INDEX = re.compile(r"(unnamed|level)\d+|index|rownames?|rownumber")
_IDS = re.compile(r"id|(song|music|track|clip|file|audio|piece|sound)(id|name|file|no|number)?")
_TIMES = re.compile(
    r"t|(frame|sample|segment|start)?times?(stamps?)?(s|ms|sec|seconds|millis.*)?|.*seconds?|sec"
)
_LABELS = re.compile(r"\D*(valence|arousal)\D*")


def segments_of_columns(
    path: str | os.PathLike, line: int, header: Sequence[str], start_time: float | None
) -> list[int]:
    """The segment that every column but the first labels.

    Args:
      path, line: where the header is, for messages.
      header: its cells; the first one names the column of song ids.
      start_time: time of the second column in seconds, further ones 0.5 s apart; None: the times
        are in the names.

    Raises:
      LabelError: the header does not say this of the columns.
    """
    place = f"{path}:{line}"
    shown = f"; the header is {_shorten(header)}"
    if len(header) < 2:
        raise LabelError(f"{place}: the header must be {_FORM}, not {_shorten(header)!r}")
    if _NUMBER.fullmatch(header[0]):
        raise LabelError(f"{place}:1: {header[0][:40]!r} is a song; the header is missing")
    if problem := _other_form(header):
        column, what = problem
        raise LabelError(f"{place}:{column}: {what}{shown}")
    if start_time is None:
        times_ms = []
        for column, name in enumerate(header[1:], start=2):
            match = _COLUMN.fullmatch(name)
            if not match:
                raise LabelError(
                    f"{place}:{column}: {name[:40]!r} is not of the form sample_<time>ms{shown}"
                )
            times_ms.append(int(match[1]))
    else:
        if problem := _irregular(header):
            column, what = problem
            raise LabelError(f"{place}:{column}: {what}{shown}")
        times_ms = [round(1000 * start_time) + SEGMENT_MS * i for i in range(len(header) - 1)]
    for column, time_ms in enumerate(times_ms, start=2):
        if time_ms % SEGMENT_MS or time_ms < 0:
            raise LabelError(f"{place}:{column}: {time_ms} ms is not a multiple of 500 ms")
    if len(set(times_ms)) < len(times_ms):
        raise LabelError(f"{place}: a time occurs twice in the header")
    return [time_ms // SEGMENT_MS for time_ms in times_ms]


def are_times(ids: Sequence[str]) -> bool:
    """Whether what should be song ids are times, so that the table is transposed."""
    if len(ids) > 1 and all(map(_COLUMN.fullmatch, ids)):
        return True
    if len(ids) < 3 or not all(map(_NUMBER.fullmatch, ids)):
        return False
    times = [float(song_id) for song_id in ids]
    steps = {b - a for a, b in itertools.pairwise(times)}
    return steps == {0.5} or (steps == {500.0} and times[0] % 500 == 0)


def _other_form(header: Sequence[str]) -> tuple[int, str] | None:
    """The column that shows another form of table, and which; None if there is none."""
    first, *others = map(_plain, header)
    n_ids = next((i for i, name in enumerate(others, start=2) if _IDS.fullmatch(name)), None)
    if not header[0] or _INDEX.fullmatch(first):
        if n_ids:
            where = f"the song ids are in column {n_ids}: save the table without its index"
        else:
            where = "name the column of song ids, the first one, song_id"
        return 1, f"column {header[0]!r} is a table's index, or has no name; {where}"
    if n_ids and not _IDS.fullmatch(first):
        return n_ids, f"{header[n_ids - 1]!r} must be the first column"
    if _TIMES.fullmatch(first) or _COLUMN.fullmatch(header[0]):
        what = "the table is transposed, or has a row per time"
        return 1, f"{header[0]!r} is not a song id: {what}; it must be {_FORM}"
    for column, name in enumerate(others, start=2):
        if _TIMES.fullmatch(name) or _LABELS.fullmatch(name):
            what = "the table has a row per time, or a single label per song"
            return column, f"{header[column - 1]!r}: {what}; it must be {_FORM}"
    if n_ids:
        return n_ids, f"{header[n_ids - 1]!r} is a second column of song ids"
    return None


def _irregular(header: Sequence[str]) -> tuple[int, str] | None:
    """The first column whose name does not continue a regular series of times, and why.

    Columns of any name are taken to be 0.5 s apart, so one that is something else would move all
    labels after it.
    """
    names: Sequence[str] = header[1:]
    seen: set[str] = set()
    if long := next((i for i, name in enumerate(names, start=2) if len(name) > _LONGEST), None):
        return long, f"a name of {len(names[long - 2])} characters"
    counted = [_COUNTING.fullmatch(name) for name in names]
    for column, name in enumerate(names, start=2):
        if not name:
            return column, "a column without a name"
        if name in seen:
            return column, f"{name!r} occurs twice"
        seen.add(name)
        if (counted[0] is None) != (counted[column - 2] is None):
            return column, f"{name!r} is not a column of the series that {names[0]!r} begins"
    series = [match for match in counted if match]
    step = float(series[1][2]) - float(series[0][2]) if len(series) > 1 else 0.0
    for column, (a, b) in enumerate(itertools.pairwise(series), start=3):
        grows = step > 0 and math.isclose(float(b[2]) - float(a[2]), step, abs_tol=1e-6)
        if (a[1], a[3]) != (b[1], b[3]) or not grows:
            return column, f"{b[0]!r} is not a column of the series that {names[0]!r} begins"
    if series and (problem := _other_step(series[0], step)):
        return 3, problem
    return None


def _other_step(first: re.Match[str], step: float) -> str:
    """Says that the names are times, but not 0.5 s apart; '' if they may be."""
    unit = first[3].strip().casefold()
    wanted = {"ms": 500.0, "s": 0.5, "sec": 0.5}.get(unit, 0.5 if step % 1 else step)
    if step and not math.isclose(step, wanted, abs_tol=1e-6):
        return f"the columns are {step:g} {unit} apart by their names, and must be 0.5 s"
    return ""


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name[:_LONGEST].casefold())


def _shorten(header: Sequence[str]) -> str:
    text = ",".join(header)[:80]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown + ("..." if len(",".join(header)) > 80 else "")
