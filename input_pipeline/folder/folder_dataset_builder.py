"""Any folder of audio with valence.csv and arousal.csv (see README.md)."""

import csv
import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

from input_pipeline.annotations import Scale, canonical_id, read_labels
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import (
    Corpus,
    CorpusError,
    Options,
    assemble,
    find_sources,
    shorten,
)
from input_pipeline.splits import SPLITS, DrawnSplit, SongList


@dataclasses.dataclass(frozen=True)
class FolderOptions(Options):
    """Options of the folder data set.

    Args:
      low, high: the scale of the label files, mapped to [-1, 1].
      start_time: seconds of the files' first column, further columns 0.5 s apart; negative: read
        the times from column names such as `sample_15000ms`.
      audio_start: the second of the song at which every audio file begins.
    """

    low: float = -1.0
    high: float = 1.0
    start_time: float = -1.0
    audio_start: float = 0.0


@dataclasses.dataclass(frozen=True)
class FolderSplit(DrawnSplit):
    """How a folder's songs are split: by a file, or drawn.

    Args:
      split_file: a CSV file `song_id,split`, relative to manual_dir; songs that it does not name
        are left out. Empty: splits are drawn from the seed.
    """

    split_file: str = ""

    def label(self) -> str:
        return "file" if self.split_file else super().label()

    def deal(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        if self.split_file:
            if manual_dir is None and not Path(self.split_file).is_absolute():
                raise CorpusError(f"split_file {self.split_file} lies in manual_dir, not given")
            return read_splits(Path(manual_dir or "", self.split_file), songs.labelled)
        return super().deal(songs, manual_dir)


class Builder(SongBuilder):
    """Audio files named by song id, anywhere below manual_dir, and two label files in it."""

    OPTIONS = FolderOptions
    SPLIT = FolderSplit
    LABEL_FILES = ("valence.csv", "arousal.csv")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "manual_dir must hold valence.csv, arousal.csv and the audio files, named <song_id>.<ext>."
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        return folder_corpus(manual_dir, self.options)


def folder_corpus(manual_dir: Path, options: FolderOptions) -> Corpus:
    """Reads a folder.

    Raises:
      CorpusError, LabelError: it is not as described.
    """
    try:
        scale = Scale(options.low, options.high)
    except ValueError as error:
        raise CorpusError(str(error)) from error
    if not math.isfinite(options.start_time):
        raise CorpusError(f"start_time: {options.start_time} is not finite")
    start_time = options.start_time if options.start_time >= 0 else None
    alignment = read_labels(manual_dir, scale=scale, start_time=start_time)
    return assemble(alignment, find_sources(manual_dir), audio_start=options.audio_start)


def read_splits(path: Path, song_ids: Iterable[str]) -> dict[str, str]:
    """Reads `song_id,split` rows.

    Raises:
      CorpusError: a row is malformed, names an unknown song or split, or repeats a song.
    """
    known, split_of = set(song_ids), {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, strict=True)]
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    for line, row in enumerate(rows, start=1):
        if row == ["song_id", "split"] or not any(row):
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
