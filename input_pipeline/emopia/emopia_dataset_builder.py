"""EMOPIA: piano clips, each labelled with a quadrant of the valence-arousal plane."""

import fnmatch
import os
import unicodedata
from pathlib import Path

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from damff_jax.system import folders
from input_pipeline.annotations import Alignment, Labels
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import UNLISTED, Corpus, CorpusError, Failure, assemble
from input_pipeline.emopia.settings import EmopiaSplit, song_of
from input_pipeline.midi import (
    MidiError,
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
      CorpusError: there are none, none is readable, one occurs twice, or fluidsynth or a soundfont
        is missing.
    """
    soundfonts = find_soundfonts()
    paths, unlisted = _clips(manual_dir)
    sources: dict[str, MidiFile] = {}
    failed: dict[str, Failure] = {}
    labels = {}
    for clip, path in paths.items():
        try:
            sources[clip] = MidiFile(path, soundfonts[0], midi_seconds(path))
        except MidiError as error:
            failed[clip] = Failure(path, str(error))
            labels[clip] = labels_of(clip, SEGMENT_SECONDS)
    add_altered(sources, soundfonts, renderings=options.renderings, seed=options.rendering_seed)
    for name, source in sources.items():
        labels[name] = labels_of(original_of(name), source.duration_s)
    corpus = assemble(Alignment(labels, [], [], [], [], []), sources, failed=failed)
    corpus.left_out |= {UNLISTED: unlisted} if unlisted else {}
    corpus.notes |= rendering_notes(sources)
    return corpus


def _clips(manual_dir: Path) -> tuple[dict[str, str], list[str]]:
    """The paths of all clips by name, and the folders that cannot be listed."""
    paths: dict[str, str] = {}
    unlisted: list[str] = []

    def unreadable(folder: str, reason: str) -> None:
        unlisted.append(f"{folder} ({reason})")

    for root, names in folders.walk(manual_dir, unreadable):
        for name in fnmatch.filter(names, "Q[1-4]_*.mid"):
            clip = unicodedata.normalize("NFC", name.removesuffix(".mid"))
            path = os.path.join(root, name)
            song_of(clip)
            if clip in paths:
                raise CorpusError(f"two files for clip {clip}: {paths[clip]} and {path}")
            paths[clip] = path
    if not paths:
        raise CorpusError(f"{manual_dir}: no MIDI files named like Q1_<song>_<number>.mid below it")
    return paths, unlisted


def labels_of(clip: str, duration_s: float) -> Labels:
    """The signs of a clip's quadrant times `MAGNITUDE`, the same in every segment."""
    n_segments = max(int(duration_s / SEGMENT_SECONDS), 1)
    values_TxV = np.tile(MAGNITUDE * np.array(SIGNS[clip[:2]], np.float32), (n_segments, 1))
    return Labels(0, values_TxV, np.ones_like(values_TxV, bool))
