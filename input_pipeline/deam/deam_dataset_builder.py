"""DEAM: 1,802 songs with valence and arousal twice a second."""

from pathlib import Path

from input_pipeline.annotations import read_labels
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import (
    Corpus,
    assemble,
    find_below,
    find_sources,
)
from input_pipeline.deam.settings import DeamOptions, DeamSplit

_LABELS = Path("annotations averaged per song") / "dynamic (per second annotations)"


class Builder(SongBuilder[DeamOptions]):
    """The DEAM release, as mp3 or any other readable format."""

    OPTIONS = DeamOptions
    SPLIT = DeamSplit
    # The complete release also has hundreds of MB of other CSV files.
    LABEL_FILES = tuple(f"*{_LABELS}/{name}.csv" for name in ("valence", "arousal"))
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download DEAM's audio and annotations from https://cvml.unige.ch/databases/DEAM/ and "
        "unpack both archives into manual_dir."
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        return deam_corpus(manual_dir, self.options)


def deam_corpus(manual_dir: Path, options: DeamOptions) -> Corpus:
    """Reads a directory in DEAM's layout.

    Raises:
      CorpusError, LabelError: another layout, or an invalid option.
    """
    audio_dir = find_below(manual_dir, "MEMD_audio", folder=True)
    alignment = read_labels(find_below(manual_dir, _LABELS, folder=True))
    return assemble(alignment, find_sources(audio_dir), audio_start=options.audio_start)
