"""DEAM: 1,802 songs with valence and arousal twice a second."""

from pathlib import Path

from input_pipeline.annotations import read_labels
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import (
    AudioFile,
    Corpus,
    CorpusError,
    assemble,
    find_audio,
)
from input_pipeline.deam.settings import DeamOptions, DeamSplit

_LABELS = Path("annotations averaged per song") / "dynamic (per second annotations)"


class Builder(SongBuilder):
    """The DEAM release, mp3 or any other format that is read."""

    OPTIONS = DeamOptions
    SPLIT = DeamSplit
    # The release has hundreds of MB of other CSV files, if all of it was downloaded.
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
      CorpusError, LabelError: it is not in that layout, or an option makes no sense.
    """
    audio_dir = _find(manual_dir, Path("MEMD_audio"))
    alignment = read_labels(_find(manual_dir, _LABELS))
    sources = {song_id: AudioFile(path) for song_id, path in find_audio(audio_dir).items()}
    return assemble(alignment, sources, audio_start=options.audio_start)


def _find(manual_dir: Path, tail: Path) -> Path:
    """The first folder below `manual_dir`, at most three levels down, whose path ends in `tail`."""
    for depth in range(4):
        for folder in sorted(manual_dir.glob("*/" * depth + str(tail))):
            if folder.is_dir():
                return folder
    raise CorpusError(f"{manual_dir}: no folder {tail} below it")
