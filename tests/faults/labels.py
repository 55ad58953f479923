"""Damaged label files and MIDI files, read as by the builders.

refused  a LabelError or CorpusError of one line that names the file
handled  the labels are those in the damaged file, read here in another way: each value is in the
         row of its song and the column of its time, and every song is built or reported
silent   any other labels; a song that is lost without a report
"""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np

from input_pipeline import midi
from input_pipeline.annotations import LabelError, canonical_id
from input_pipeline.corpus import Corpus, CorpusError
from input_pipeline.deam.deam_dataset_builder import deam_corpus
from input_pipeline.deam.settings import DeamOptions
from input_pipeline.folder.folder_dataset_builder import folder_corpus
from input_pipeline.folder.settings import FolderOptions
from input_pipeline.vgmidi.ratings import read_pieces
from tests.faults.mutations import Mutated, mutate

_DUMMY = Path(midi.__file__).parent
_READERS = {
    "deam": lambda folder: deam_corpus(folder, DeamOptions()),
    "folder": lambda folder: folder_corpus(folder, FolderOptions()),
    "mer1101": lambda folder: folder_corpus(folder, FolderOptions()),
    "vgmidi": lambda folder: read_pieces(folder / "labelled" / "annotations"),
    "midi": lambda folder: {p.name: midi.midi_seconds(p) for p in sorted(folder.rglob("*.mid"))},
}
# A day; a file of a longer piece is damaged.
_LONGEST_S = 86_400


def make_inputs(folder: Path, seed: int) -> None:
    """Copies of the builders' dummy data."""
    del seed
    for name in _READERS:
        source = _DUMMY / ("vgmidi" if name == "midi" else name) / "dummy_data"
        shutil.copytree(source, folder / name)


class Trials:
    def __init__(self, folder: Path, seed: int):
        self._seed = seed
        self._folder = folder.parent / f"labels_{id(self)}"
        shutil.copytree(folder, self._folder)

    def run(self, number: int) -> tuple[str, str]:
        rng = np.random.default_rng([self._seed, 2, number])
        name = list(_READERS)[rng.integers(len(_READERS))]
        folder = self._folder / name
        suffix = {"vgmidi": ".json", "midi": ".mid"}.get(name, ".csv")
        paths = sorted(path for path in folder.rglob(f"*{suffix}"))
        path = paths[rng.integers(len(paths))]
        content = path.read_bytes()
        edit = mutate if rng.random() < 0.5 or suffix == ".mid" else _edit_text
        mutated = edit(content, rng)
        self.what = f"{name}, {path.name}, {mutated.what} of {len(content)} bytes"
        path.write_bytes(mutated.content)
        try:
            return self._judge(name, folder)
        finally:
            path.write_bytes(content)

    def _judge(self, name: str, folder: Path) -> tuple[str, str]:
        try:
            result = _READERS[name](folder)
        except (LabelError, CorpusError) as error:
            # If everything is missing, no single file is to blame.
            named = str(folder) in str(error) or "no song has both" in str(error)
            one_line = named and "\n" not in str(error)
            return "refused" if one_line else "crashed", f"{self.what}: {error}"
        if name == "midi":
            wrong = [f"{k} lasts {x}" for k, x in result.items() if not 0.5 <= x <= _LONGEST_S]
        elif name == "vgmidi":
            wrong = _differences_of_ratings(result, folder)
        else:
            wrong = _differences(result, folder)
        return ("silent", f"{self.what}: {wrong[0]}") if wrong else ("handled", self.what)


def _differences(corpus: Corpus, folder: Path) -> list[str]:
    """Differences between a corpus and the two files."""
    files = [next(folder.rglob(f"{name}.csv")) for name in ("valence", "arousal")]
    expected = [_cells(path) for path in files]
    built = {song.song_id: song.labels for song in corpus.songs}
    reported = {song_id for songs in corpus.left_out.values() for song_id in songs}
    lost = {*expected[0], *expected[1]} - built.keys() - reported
    wrong = [f"song {song_id} is lost" for song_id in lost]
    for song_id, labels in built.items():
        for v, cells in enumerate(expected):
            read = {
                500 * (labels.first_segment + int(t)): labels.values_TxV[t, v]
                for t in np.flatnonzero(labels.mask_TxV[:, v])
            }
            there = {time: np.float32(x) for time, x in cells.get(song_id, {}).items()}
            if any(there.get(time) != x for time, x in read.items()):
                wrong.append(f"song {song_id} has other values than its row")
            # Labels beyond the span of the other curve are cut off.
            span = range(
                500 * labels.first_segment, 500 * (labels.first_segment + len(labels)), 500
            )
            if any(time in span and time not in read for time in there):
                wrong.append(f"song {song_id} lacks values of its row")
    return wrong


def _cells(path: Path) -> dict[str, dict[int, float]]:
    """{song: {milliseconds: value}} as read by a reader that does not check for faults."""
    text = path.read_bytes().decode("utf-8-sig")
    table = csv.reader(io.StringIO(text, newline=""))
    header, *rows = (row for row in table if any(map(str.strip, row)))
    times = [int(name.strip().removeprefix("sample_").removesuffix("ms")) for name in header[1:]]
    cells: dict[str, dict[int, float]] = {}
    for row in rows:
        if any(cell.strip() for cell in row):
            pairs = zip(times, row[1:], strict=False)
            values = {time: float(x) for time, x in pairs if x.strip() not in ("", "NA", "na")}
            values = {time: x for time, x in values.items() if not np.isnan(x)}
            cells[canonical_id(row[0])] = {t: min(max(x, -1.0), 1.0) for t, x in values.items()}
    return cells


def _differences_of_ratings(result: tuple, folder: Path) -> list[str]:
    pieces, left_out = result
    reported = {name.split(":")[1] for names in left_out.values() for name in names}
    wrong = []
    for path in folder.rglob("vgmidi_raw_*.json"):
        content = json.loads(path.read_text())
        for key, piece in content["pieces"].items():
            ratings = []
            for name, annotation in content["annotations"].items():
                if name.rsplit("_", 1)[0] != key or name in reported:
                    continue
                ratings.append([annotation["valence"], annotation["arousal"]])
            values_NxV = pieces.get(Path(piece["midi"]).stem)
            if values_NxV is None:
                if key not in reported:
                    wrong.append(f"{key} is lost")
            elif not np.array_equal(np.mean([np.array(r).T for r in ratings], axis=0), values_NxV):
                wrong.append(f"{key} has other ratings than in the file")
    return wrong


def _edit_text(content: bytes, rng: np.random.Generator) -> Mutated:
    """A change that mostly keeps the form of the file."""
    text = content.decode()
    place = int(rng.integers(len(text)))
    lines = text.split("\n")
    line = int(rng.integers(len(lines)))
    cells = lines[line].split(",")
    cell = int(rng.integers(len(cells)))
    odd = ("", " ", "nan", "NA", "inf", "-1e999", "2", "0,5", "1_0", "١", "x", "'", '"', "\0", "\r")
    odd += (
        "9" * 400,
        "1e-400",
        "sample_0ms",
        "[]",
        "{}",
        "null",
        "true",
        "2.0",
        "-",
        "0x1",
        "\ufeff",
    )
    new = odd[rng.integers(len(odd))]
    match int(rng.integers(6)):
        case 0:
            cells[cell] = new
        case 1:
            cells.insert(cell, new)
        case 2:
            del cells[cell]
        case 3:
            cells[cell], cells[0] = cells[0], cells[cell]
        case 4:
            lines[line] = lines[int(rng.integers(len(lines)))]
            changed = "\n".join(lines).encode()
            return Mutated(changed, 0, f"line {line + 1} replaced by another")
        case _:
            changed = (text[:place] + new + text[place:]).encode()
            return Mutated(changed, place, f"{new[:9]!r} inserted at {place}")
    lines[line] = ",".join(cells)
    return Mutated("\n".join(lines).encode(), 0, f"cell {cell + 1} of line {line + 1}: {new[:9]!r}")
