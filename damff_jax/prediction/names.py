"""The names of a prediction's output files.

A name depends only on the file's own path, so it stays the same when other files are added. Only if
two files would get the same name does each of them get a longer one, which again depends only on
its own path.
"""

import collections
import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence

from damff_jax.prediction.inputs import Input

# What is appended to names. File systems allow names of 255 bytes.
SUFFIXES = (".csv", ".json", ".png", ".html", ".jams", ".labels.txt", ".svl")
# Of the files about a whole folder of songs.
RESERVED = ("index", "summary")
_MOST_BYTES = 255 - max(map(len, SUFFIXES))


def output_names(files: Sequence[Input]) -> list[str]:
    """Paths without a suffix, relative to the output folder, which differ in more than case.

    A file that was given gets its stem; a file below a given folder gets its place there. If two
    would have the same, or one is `RESERVED`, they get their extensions too or, if those are equal,
    a hash of their path.
    """
    candidates = [_names(file) for file in files]
    names = [next(of_file) for of_file in candidates]
    while longer := {i: x for i in _clashing(names) if (x := next(candidates[i], None))}:
        for i, name in longer.items():
            names[i] = name
    return names


def _names(file: Input) -> Iterator[str]:
    """A file's names, longer and longer; the last one is that of no other file."""
    place = os.path.relpath(file.path, file.folder) if file.folder else os.path.basename(file.path)
    folder, name = os.path.split(place)
    stem, extension = os.path.splitext(name)
    digest = hashlib.sha256(os.fsencode(os.path.abspath(file.path))).hexdigest()
    is_reserved = not folder and stem.casefold() in RESERVED
    if len(os.fsencode(stem)) <= _MOST_BYTES and not is_reserved:
        yield os.path.join(folder, stem)
    if extension and len(os.fsencode(name)) <= _MOST_BYTES:
        yield os.path.join(folder, name)
    for digits in (12, len(digest)):
        end = f"~{digest[:digits]}"
        yield os.path.join(folder, _shortened(stem, _MOST_BYTES - len(end)) + end)


def _shortened(text: str, n_bytes: int) -> str:
    """The beginning of a text, without a part of a character at its end."""
    encoded = os.fsencode(text)
    if len(encoded) <= n_bytes:
        return text
    return encoded[:n_bytes].decode(errors="ignore")


def _clashing(names: Sequence[str]) -> list[int]:
    """Indices of names whose files would be the same, or would have to be a folder too.

    On some file systems, names are the same that differ only in case, or in how accents are
    composed.
    """
    keys = [unicodedata.normalize("NFC", name).casefold() for name in names]
    count = collections.Counter(keys)
    folders = {folder for key in set(map(os.path.dirname, keys)) for folder in _upwards(key)}
    return [
        i for i, key in enumerate(keys)
        if count[key] > 1 or any(key + suffix in folders for suffix in SUFFIXES)
    ]  # fmt: skip


def _upwards(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = os.path.dirname(folder)
