"""The settings of the synthetic songs: how many there are, and how they are split."""

import dataclasses
from pathlib import Path

from input_pipeline.corpus import Options
from input_pipeline.deam.settings import DeamSplit
from input_pipeline.splits import SongList, Split


@dataclasses.dataclass(frozen=True)
class SyntheticOptions(Options):
    """Options of the synthetic data set.

    Args:
      n_clips: songs for training and validation, with ids like DEAM's clips (1 to 2000).
      n_test: songs for the test split, with higher ids.
      duration_s: of every song, a multiple of 0.5.
      sample_rate: Hz.
      seed: determines all songs.
    """

    n_clips: int = 112
    n_test: int = 24
    duration_s: float = 45.0
    sample_rate: int = 44_100
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class SyntheticSplit(Split):
    """How the songs are split: like DEAM's.

    Args:
      validation_fraction: share of the clips.
    """

    validation_fraction: float = 0.125

    def assign(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        return DeamSplit(validation_fraction=self.validation_fraction).assign(songs, manual_dir)


OPTIONS, SPLIT = SyntheticOptions, SyntheticSplit
