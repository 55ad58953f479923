"""Songs composed from a seed, written as flac with labels in DEAM's layout."""

from pathlib import Path

from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, CorpusError
from input_pipeline.deam.deam_dataset_builder import deam_corpus
from input_pipeline.deam.settings import LAST_CLIP_ID, DeamOptions
from input_pipeline.synthetic.settings import SyntheticOptions, SyntheticSplit
from input_pipeline.synthetic.songs import write_songs


class Builder(SongBuilder[SyntheticOptions]):
    """Composes the songs, then reads them like DEAM's builder."""

    OPTIONS = SyntheticOptions
    SPLIT = SyntheticSplit

    def corpus(self, manual_dir: Path) -> Corpus:
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
