"""VGMIDI: piano arrangements of game music with continuous ratings by listeners."""

from pathlib import Path

from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.annotations import Alignment
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, assemble
from input_pipeline.midi import (
    MidiFile,
    RenderingOptions,
    add_altered,
    find_soundfonts,
    midi_seconds,
    original_of,
    rendering_notes,
)
from input_pipeline.vgmidi.ratings import labels_of, read_pieces
from input_pipeline.vgmidi.settings import VgmidiSplit


class Builder(SongBuilder[RenderingOptions]):
    """The labelled part of the VGMIDI repository, rendered by fluidsynth."""

    OPTIONS = RenderingOptions
    SPLIT = VgmidiSplit
    SOUND_FILES = ("*.mid",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Clone https://github.com/lucasnfe/vgmidi and give the clone (it holds the folder "
        "'labelled') as manual_dir. Rendering needs fluidsynth and a soundfont; Debian: "
        "apt-get install fluidsynth timgm6mb-soundfont"
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        return vgmidi_corpus(manual_dir, self.options)


def vgmidi_corpus(manual_dir: Path, options: RenderingOptions) -> Corpus:
    """Reads the repository's layout.

    Raises:
      CorpusError, LabelError: files are missing or malformed, or fluidsynth or a soundfont is
        missing.
    """
    soundfonts = find_soundfonts()
    pieces, left_out = read_pieces(manual_dir / "labelled" / "annotations")
    folder = manual_dir / "labelled" / "midi"
    sources, labels = {}, {}
    for song_id, values_NxV in pieces.items():
        path = folder / f"{song_id}.mid"
        if not path.is_file():
            # Counted as a song without audio; its length is unknown, so it gets a single label.
            labels[song_id] = labels_of(values_NxV, SEGMENT_SECONDS)
            continue
        sources[song_id] = MidiFile(str(path), soundfonts[0], midi_seconds(path))
    add_altered(sources, soundfonts, renderings=options.renderings, seed=options.rendering_seed)
    for name, source in sources.items():
        labels[name] = labels_of(pieces[original_of(name)], source.duration_s)
    corpus = assemble(Alignment(labels, [], [], [], [], []), sources)
    corpus.left_out |= left_out
    corpus.notes |= rendering_notes(sources)
    return corpus
