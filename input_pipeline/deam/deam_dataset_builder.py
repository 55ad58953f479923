"""DEAM: 1,802 songs with valence and arousal twice a second (see README.md)."""

import dataclasses
from pathlib import Path

from input_pipeline.annotations import read_labels
from input_pipeline.base import Options, SongBuilder
from input_pipeline.corpus import (
    AudioFile,
    Corpus,
    CorpusError,
    assemble,
    find_audio,
    shorten,
    split_by_song,
)

# Ids above 2000 are the 58 full-length songs of the MediaEval 2015 evaluation set.
LAST_CLIP_ID = 2000
_LABELS = Path("annotations averaged per song") / "dynamic (per second annotations)"


@dataclasses.dataclass(frozen=True)
class DeamOptions(Options):
    """Options of the DEAM builder.

    Args:
      protocol: 'release' trains on the 1,744 clips, 'mediaeval2015' on the 431 of the MediaEval
        2015 development set; both test on the 58 full songs.
      validation_fraction: share of the protocol's clips, by song, kept for validation.
      split_seed: decides which clips those are.
    """

    protocol: str = "release"
    validation_fraction: float = 0.1
    split_seed: int = 0


class Builder(SongBuilder):
    """The DEAM release, mp3 or any other format that is read."""

    OPTIONS = DeamOptions
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download DEAM's audio and annotations from https://cvml.unige.ch/databases/DEAM/ and "
        "unpack both archives into manual_dir."
    )

    @classmethod
    def label(cls, options: DeamOptions) -> str:
        return options.protocol

    def corpus(self, manual_dir: Path) -> Corpus:
        return deam_corpus(manual_dir, self.options)


def deam_corpus(manual_dir: Path, options: DeamOptions) -> Corpus:
    """Reads a directory in DEAM's layout.

    Raises:
      CorpusError, LabelError: it is not in that layout, or the protocol is unknown.
    """
    audio_dir = _find(manual_dir, Path("MEMD_audio"))
    alignment = read_labels(_find(manual_dir, _LABELS))
    sources = {song_id: AudioFile(path) for song_id, path in find_audio(audio_dir).items()}
    # Splits come from the labels, so that they do not depend on which audio is at hand.
    split_of = split_songs(list(alignment.labels), options)
    return assemble(alignment, sources, split_of)


def split_songs(song_ids: list[str], options: DeamOptions) -> dict[str, str]:
    """{song id: split} of the songs that the protocol uses."""
    foreign = [song_id for song_id in song_ids if not song_id.isdecimal()]
    if foreign:
        raise CorpusError(f"DEAM's song ids are numbers, not {shorten(foreign)}")
    clips = [song_id for song_id in song_ids if int(song_id) <= LAST_CLIP_ID]
    full_songs = [song_id for song_id in song_ids if int(song_id) > LAST_CLIP_ID]
    if options.protocol == "mediaeval2015":
        development = mediaeval2015_ids()
        clips = [song_id for song_id in clips if song_id in development]
    elif options.protocol != "release":
        raise CorpusError(f"protocol {options.protocol!r} is neither release nor mediaeval2015")
    fractions = {"validation": options.validation_fraction}
    split_of = split_by_song(clips, fractions, seed=options.split_seed)
    return split_of | dict.fromkeys(full_songs, "test")


def mediaeval2015_ids() -> frozenset[str]:
    """The 431 clips of the MediaEval 2015 development set (see mediaeval2015_ids.txt)."""
    text = Path(__file__).with_name("mediaeval2015_ids.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return frozenset(" ".join(lines).split())


def _find(manual_dir: Path, tail: Path) -> Path:
    """The first folder below `manual_dir`, at most three levels down, whose path ends in `tail`."""
    for depth in range(4):
        for folder in sorted(manual_dir.glob("*/" * depth + str(tail))):
            if folder.is_dir():
                return folder
    raise CorpusError(f"{manual_dir}: no folder {tail} below it")
