"""CSV files: their rows, and what a file is instead if it is none."""

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

# Characters; the columns of a whole day take three quarters of it.
_MAX_LINE_LENGTH = 2**22
# Bytes that tell what a file is.
_HEAD = 2**16
_RESAVE = "open it and save it as CSV, with commas, in UTF-8"
# How files begin that are mistaken for CSV files; what they are, and what to do.
_FOREIGN = (
    (rb"PK\x03\x04(?s:.*)(xl/|\[Content_Types\]|opendocument)", "a spreadsheet", _RESAVE),
    (rb"PK\x03\x04", "a ZIP archive", "unpack it"),
    (rb"\xd0\xcf\x11\xe0", "an old Excel spreadsheet (xls)", _RESAVE),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "compressed", "unpack it"),
    (rb"\xff\xfe\0\0|\0\0\xfe\xff", "text in UTF-32", "save it as UTF-8"),
    (rb"\xff\xfe|\xfe\xff|(?:[^\0]\0){4}|(?:\0[^\0]){4}", "text in UTF-16", "save it as UTF-8"),
    (rb"%PDF", "a PDF document", "export the table as CSV"),
    (
        rb"\s*(?:\xef\xbb\xbf)?\s*<",
        "an HTML or XML page",
        "download the file itself, or export the table as CSV",
    ),
    (rb"\s*(?:\xef\xbb\xbf)?\s*[\[{]", "JSON", "convert it to CSV"),
    (rb"version https://git-lfs", "a placeholder of Git LFS", "fetch the file with `git lfs pull`"),
)
# A label or none, with a decimal point, or either side of a decimal comma.
_NUMBER = re.compile(r"\s*([+-]?[\d.]*([eE][+-]?\d+)?|nan|na)\s*", re.IGNORECASE | re.ASCII)
_FIRST_CELL = re.compile(r'\s*(?:"[^"]*"|[^",;\t|]*)\s*?([;\t|])')
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class LabelError(ValueError):
    """A label file that cannot be used; the message is one line: file:line:column: reason."""


def rows(path: str | os.PathLike) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, with line numbers; cells without spaces around.

    Raises:
      LabelError: the file cannot be read, or is no CSV file in UTF-8 with commas.
    """
    line = 0
    try:
        if what := foreign_form(path):
            raise LabelError(f"{path}: not a CSV file in UTF-8, but {what}")
        # Bytes that are not UTF-8 become surrogates, so that their line is known.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(_lines(file), strict=True)
            for row in reader:
                if name := _separator_in(row):
                    raise csv.Error(_separated(name, ",".join(row)))
                line, row = reader.line_num, [cell.strip() for cell in row]
                if any(row):
                    yield line, row
    except FileNotFoundError as error:
        raise LabelError(f"{path}: {error.strerror}{_like(Path(path))}") from error
    except OSError as error:
        raise LabelError(f"{path}: {error.strerror}") from error
    except csv.Error as error:
        raise LabelError(f"{path}:{line + 1}: not a CSV file in UTF-8 ({error})") from error


def foreign_form(path: str | os.PathLike) -> str:
    """What a file is if it is certainly no text table, and what to do; '' if it may be one.

    Raises:
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    for pattern, what, remedy in _FOREIGN:
        if re.match(pattern, head):
            return f"{what}: {remedy}"
    return ""


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file, checked before they are split into cells.

    Raises:
      csv.Error: the file has other separators or another encoding, or a line is endless.
    """
    is_header = True
    while line := file.readline(_MAX_LINE_LENGTH):
        if len(line) == _MAX_LINE_LENGTH:
            raise csv.Error("a line has millions of characters")
        if not line.isascii() and re.search("[\udc80-\udcff]", line):
            raise csv.Error("perhaps in Latin-1 or Windows-1252: save it as UTF-8")
        if is_header and (match := _FIRST_CELL.match(line)):
            raise csv.Error(
                _separated(_SEPARATORS[match[1]], line + file.readline(_MAX_LINE_LENGTH))
            )
        is_header = is_header and not line.strip()
        yield line


def _separator_in(row: list[str]) -> str:
    """The name of the separators of a row with labels, if they are not commas."""
    for separator, name in _SEPARATORS.items():
        if not row or separator not in row[0]:
            continue
        # A song id may contain such a character, but not together with all labels.
        cells = [cell for part in row for cell in part.split(separator)][1:]
        in_all = len(row) == 1 or any(separator in cell for cell in row[1:])
        if in_all and all(map(_NUMBER.fullmatch, cells)):
            return name
    return ""


def _separated(name: str, text: str) -> str:
    point = " and decimal points" if re.search(r"\d,\d", text) else ""
    return f"columns are separated by {name}: save it with commas{point}"


def _like(path: Path) -> str:
    """Names a file whose name differs only in its case or extension, if there is one."""
    try:
        near = sorted(
            entry.name
            for entry in path.parent.iterdir()
            if entry.stem.casefold() == path.stem.casefold() and entry.is_file()
        )
    except OSError:
        return ""
    return f"; there is {near[0]}, which must be a CSV file named {path.name}" if near else ""
