"""EMOPIA: piano clips, each of one quadrant of the valence-arousal plane (see README.md)."""

import dataclasses
import re
from pathlib import Path

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.annotations import Alignment, Labels
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, CorpusError, assemble
from input_pipeline.midi import (
    MidiFile,
    RenderingOptions,
    add_altered,
    deal_altered,
    find_soundfonts,
    midi_seconds,
    original_of,
    rendering_notes,
)
from input_pipeline.splits import SongList, Split, split_by_song

# All that is known of a clip are the signs of its valence and arousal.
SIGNS = {"Q1": (1, 1), "Q2": (-1, 1), "Q3": (-1, -1), "Q4": (1, -1)}
MAGNITUDE = 0.5
_NAME = re.compile(r"(?P<quadrant>Q[1-4])_(?P<song>.+)_(?P<clip>\d+)")


@dataclasses.dataclass(frozen=True)
class EmopiaSplit(Split):
    """How EMOPIA's clips are split, by song. There is no test split.

    Args:
      validation_fraction: share of the songs kept for validation.
      split_seed: decides which songs those are.
    """

    validation_fraction: float = 0.1
    split_seed: int = 0

    def label(self) -> str:
        return "clips"

    def deal(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        clips = [name for name in songs.n_segments if original_of(name) == name]
        fractions = {"validation": self.validation_fraction}
        split_of_song = split_by_song(map(song_of, clips), fractions, seed=self.split_seed)
        return deal_altered(songs, {clip: split_of_song[song_of(clip)] for clip in clips})


class Builder(SongBuilder):
    """EMOPIA's MIDI files, rendered by fluidsynth."""

    OPTIONS = RenderingOptions
    SPLIT = EmopiaSplit
    SOUND_FILES = ("*.mid",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download EMOPIA (https://zenodo.org/records/5090631) and give the unpacked folder as "
        "manual_dir. Rendering needs fluidsynth and a soundfont; Debian: "
        "apt-get install fluidsynth timgm6mb-soundfont"
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        return emopia_corpus(manual_dir, self.options)


def emopia_corpus(manual_dir: Path, options: RenderingOptions) -> Corpus:
    """Reads the MIDI files of EMOPIA, wherever they lie below the folder.

    Raises:
      CorpusError: there are none, one of them occurs twice or is not readable, or fluidsynth or a
        soundfont is missing.
    """
    soundfonts = find_soundfonts()
    sources: dict[str, MidiFile] = {}
    for path in sorted(manual_dir.rglob("Q[1-4]_*.mid")):
        clip = path.stem
        song_of(clip)
        if clip in sources:
            raise CorpusError(f"two files for clip {clip}: {sources[clip].path} and {path}")
        sources[clip] = MidiFile(str(path), soundfonts[0], midi_seconds(path))
    if not sources:
        raise CorpusError(f"{manual_dir}: no MIDI files named like Q1_<song>_<number>.mid below it")
    add_altered(sources, soundfonts, renderings=options.renderings, seed=options.rendering_seed)
    labels = {
        name: labels_of(original_of(name), source.duration_s) for name, source in sources.items()
    }
    corpus = assemble(Alignment(labels, [], [], [], [], []), sources)
    corpus.notes |= rendering_notes(sources)
    return corpus


def song_of(clip: str) -> str:
    """The song that a clip is of: `Q1_<song>_<number>`.

    Raises:
      CorpusError: that is not its name's form.
    """
    match = _NAME.fullmatch(clip)
    if match is None:
        raise CorpusError(f"EMOPIA's clips are named Q1_<song>_<number>, not {clip}")
    return match["song"]


def labels_of(clip: str, duration_s: float) -> Labels:
    """The signs of a clip's quadrant times `MAGNITUDE`, the same in every segment."""
    n_segments = max(int(duration_s / SEGMENT_SECONDS), 1)
    values_TxV = np.tile(np.float32(MAGNITUDE) * np.float32(SIGNS[clip[:2]]), (n_segments, 1))
    return Labels(0, values_TxV, np.ones_like(values_TxV, bool))
