"""Songs composed from a seed, written as flac with labels in DEAM's layout (see README.md)."""

import dataclasses
from pathlib import Path

from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, CorpusError, Options
from input_pipeline.deam.deam_dataset_builder import (
    LAST_CLIP_ID,
    DeamOptions,
    DeamSplit,
    deam_corpus,
)
from input_pipeline.splits import SongList, Split
from input_pipeline.synthetic.songs import write_songs


@dataclasses.dataclass(frozen=True)
class SyntheticOptions(Options):
    """Options of the synthetic data set.

    Args:
      n_clips: songs for training and validation, with DEAM's ids of clips (1 to 2000).
      n_test: songs for the test split, with the ids above.
      duration_s: of every song, a multiple of 0.5.
      sample_rate: Hz.
      seed: decides all songs.
    """

    n_clips: int = 112
    n_test: int = 24
    duration_s: float = 45.0
    sample_rate: int = 44_100
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class SyntheticSplit(Split):
    """How the songs are split: as DEAM's.

    Args:
      validation_fraction: share of the clips.
    """

    validation_fraction: float = 0.125

    def deal(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        return DeamSplit(validation_fraction=self.validation_fraction).deal(songs, manual_dir)


class Builder(SongBuilder):
    """Composes the songs, then reads them as DEAM's builder reads DEAM."""

    OPTIONS = SyntheticOptions
    SPLIT = SyntheticSplit

    def corpus(self, manual_dir: None) -> Corpus:
        options = self.options
        if not 1 <= options.n_clips <= LAST_CLIP_ID or options.n_test < 0:
            raise CorpusError(f"n_clips must be within 1..{LAST_CLIP_ID}, n_test not negative")
        ids = [*range(1, options.n_clips + 1)]
        ids += range(LAST_CLIP_ID + 1, LAST_CLIP_ID + options.n_test + 1)
        folder = write_songs(
            Path(self.data_dir).parents[1],
            ids,
            seed=options.seed,
            duration_s=options.duration_s,
            sample_rate=options.sample_rate,
            executor=self.executor,
            progress=self.progress,
        )
        return deam_corpus(folder, DeamOptions())
