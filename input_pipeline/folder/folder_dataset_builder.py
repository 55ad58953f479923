"""Any folder of audio with valence.csv and arousal.csv."""

import math
from pathlib import Path

from input_pipeline.annotations import Scale, read_labels
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import (
    Corpus,
    CorpusError,
    assemble,
    find_sources,
)
from input_pipeline.folder.settings import FolderOptions, FolderSplit


class Builder(SongBuilder[FolderOptions]):
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
      CorpusError, LabelError: files are missing or malformed, or an option is invalid.
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
