"""MER1101, in a layout that is ours until the release is at hand (see README.md)."""

import dataclasses
from pathlib import Path

from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, Options
from input_pipeline.folder.folder_dataset_builder import FolderOptions, FolderSplit, folder_corpus


@dataclasses.dataclass(frozen=True)
class Mer1101Options(Options):
    """Options of the MER1101 builder.

    Args:
      audio_start: the second of the song at which every audio file begins.
    """

    audio_start: float = 0.0


@dataclasses.dataclass(frozen=True)
class Mer1101Split(FolderSplit):
    """How MER1101's songs are split, see `FolderSplit`; the paper's way is not known."""

    validation_fraction: float = 0.1
    test_fraction: float = 0.2


class Builder(SongBuilder):
    """audio/<id>.<ext> with valence.csv and arousal.csv in DEAM's form."""

    OPTIONS = Mer1101Options
    SPLIT = Mer1101Split
    LABEL_FILES = ("valence.csv", "arousal.csv")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "MER1101 is to be asked for from the authors of DAMFF. Arrange it as audio/<id>.<ext>, "
        "valence.csv and arousal.csv (song_id,sample_0ms,sample_500ms,...) in manual_dir."
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        return folder_corpus(manual_dir, FolderOptions(audio_start=self.options.audio_start))
