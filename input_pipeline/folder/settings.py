"""The settings of a folder: the form of its labels, and how its songs are split."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from damff_jax.songs import SPLITS
from input_pipeline.annotations import canonical_id
from input_pipeline.corpus import CorpusError, Options, shorten
from input_pipeline.csv_files import LabelError, rows
from input_pipeline.splits import DrawnSplit, SongList


@dataclasses.dataclass(frozen=True)
class FolderOptions(Options):
    """Options of the folder data set.

    Args:
      low, high: the scale of the label files, mapped to [-1, 1].
      start_time: time of the first column in seconds, further columns 0.5 s apart, whatever their
        names, as long as these count up regularly; negative: read the times from column names such
        as `sample_15000ms`.
      audio_start: the second of the song at which every audio file begins.
    """

    low: float = -1.0
    high: float = 1.0
    start_time: float = -1.0
    audio_start: float = 0.0


@dataclasses.dataclass(frozen=True)
class FolderSplit(DrawnSplit):
    """How a folder's songs are split: by a file, or at random.

    Args:
      split_file: a CSV file `song_id,split`, relative to manual_dir; songs that are not in it are
        not used. Empty: splits are drawn from the seed.
    """

    split_file: str = ""

    def label(self) -> str:
        return "file" if self.split_file else super().label()

    def assign(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        if self.split_file:
            if manual_dir is None and not Path(self.split_file).is_absolute():
                raise CorpusError(
                    f"split_file {self.split_file} is in manual_dir, which is not given"
                )
            return read_splits(Path(manual_dir or "", self.split_file), songs.labelled)
        return super().assign(songs, manual_dir)


def read_splits(path: Path, song_ids: Iterable[str]) -> dict[str, str]:
    """Reads `song_id,split` rows.

    Raises:
      CorpusError: a row is malformed, names an unknown song or split, or repeats a song.
    """
    known, split_of = set(song_ids), {}
    try:
        lines = list(rows(path))
    except LabelError as error:
        raise CorpusError(str(error)) from error
    for line, row in lines:
        if row == ["song_id", "split"]:
            continue
        if len(row) != 2 or row[1] not in SPLITS:
            raise CorpusError(f"{path}:{line}: not <song_id>,<{shorten(SPLITS)}>")
        song_id = canonical_id(row[0])
        if song_id not in known:
            raise CorpusError(f"{path}:{line}: song {song_id} has no labels")
        if song_id in split_of:
            raise CorpusError(f"{path}:{line}: song {song_id} occurs twice")
        split_of[song_id] = row[1]
    return split_of


OPTIONS, SPLIT = FolderOptions, FolderSplit
