"""EMOPIA: piano clips, each labelled with a quadrant of the valence-arousal plane."""

from pathlib import Path

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.annotations import Alignment, Labels
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, CorpusError, assemble
from input_pipeline.emopia.settings import EmopiaSplit, song_of
from input_pipeline.midi import (
    MidiFile,
    RenderingOptions,
    add_altered,
    find_soundfonts,
    midi_seconds,
    original_of,
    rendering_notes,
)

# Only the signs of a clip's valence and arousal are known.
SIGNS = {"Q1": (1, 1), "Q2": (-1, 1), "Q3": (-1, -1), "Q4": (1, -1)}
MAGNITUDE = 0.5


class Builder(SongBuilder[RenderingOptions]):
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
    """Reads the MIDI files of EMOPIA, anywhere below the folder.

    Raises:
      CorpusError: there are none, one occurs twice or is not readable, or fluidsynth or a soundfont
        is missing.
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


def labels_of(clip: str, duration_s: float) -> Labels:
    """The signs of a clip's quadrant times `MAGNITUDE`, the same in every segment."""
    n_segments = max(int(duration_s / SEGMENT_SECONDS), 1)
    values_TxV = np.tile(MAGNITUDE * np.array(SIGNS[clip[:2]], np.float32), (n_segments, 1))
    return Labels(0, values_TxV, np.ones_like(values_TxV, bool))
