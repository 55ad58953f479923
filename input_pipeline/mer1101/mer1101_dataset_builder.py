"""MER1101, in our own layout until the release is available."""

from pathlib import Path

from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus
from input_pipeline.folder.folder_dataset_builder import folder_corpus
from input_pipeline.folder.settings import FolderOptions
from input_pipeline.mer1101.settings import Mer1101Options, Mer1101Split


class Builder(SongBuilder[Mer1101Options]):
    """audio/<id>.<ext> with valence.csv and arousal.csv in DEAM's form."""

    OPTIONS = Mer1101Options
    SPLIT = Mer1101Split
    LABEL_FILES = ("valence.csv", "arousal.csv")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Request MER1101 from the authors of DAMFF. Arrange it as audio/<id>.<ext>, "
        "valence.csv and arousal.csv (song_id,sample_0ms,sample_500ms,...) in manual_dir."
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        return folder_corpus(manual_dir, FolderOptions(audio_start=self.options.audio_start))
