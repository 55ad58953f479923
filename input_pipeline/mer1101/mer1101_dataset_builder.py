"""MER1101, in a layout that is ours until the release is at hand (see README.md)."""

import dataclasses
from pathlib import Path

from input_pipeline.base import Options, SongBuilder
from input_pipeline.corpus import Corpus
from input_pipeline.folder.folder_dataset_builder import FolderOptions, folder_corpus


@dataclasses.dataclass(frozen=True)
class Mer1101Options(Options):
    """Options of the MER1101 builder; the paper's splits are not known.

    Args:
      split_file: a CSV file `song_id,split`, relative to manual_dir; empty: drawn from the seed.
      validation_fraction, test_fraction: shares of the songs, if drawn.
      split_seed: decides the draw.
    """

    split_file: str = ""
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0


class Builder(SongBuilder):
    """audio/<id>.<ext> with valence.csv and arousal.csv in DEAM's form."""

    OPTIONS = Mer1101Options
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "MER1101 is to be asked for from the authors of DAMFF. Arrange it as audio/<id>.<ext>, "
        "valence.csv and arousal.csv (song_id,sample_0ms,sample_500ms,...) in manual_dir."
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        return folder_corpus(manual_dir, FolderOptions(**dataclasses.asdict(self.options)))
