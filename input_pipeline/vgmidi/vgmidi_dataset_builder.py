"""VGMIDI: piano arrangements of game music with continuous ratings by listeners."""

import unicodedata
from pathlib import Path

from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.annotations import Alignment
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, Failure, assemble
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
from input_pipeline.vgmidi.ratings import OTHER_LENGTH, labels_of, read_pieces
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
    # Names of files may be in another Unicode form than those in the annotations.
    paths = {unicodedata.normalize("NFC", path.stem): path for path in folder.glob("*.mid")}
    sources, labels, failed = {}, {}, {}
    for song_id, values_NxV in pieces.items():
        # Of a piece without a readable MIDI file the length is unknown, so it gets a single label.
        labels[song_id] = labels_of(values_NxV, SEGMENT_SECONDS)
        if path := paths.get(song_id):
            try:
                sources[song_id] = MidiFile(str(path), soundfonts[0], midi_seconds(path))
            except MidiError as error:
                failed[song_id] = Failure(str(path), str(error))
    add_altered(sources, soundfonts, renderings=options.renderings, seed=options.rendering_seed)
    for name, source in sources.items():
        labels[name] = labels_of(pieces[original_of(name)], source.duration_s)
    corpus = assemble(Alignment(labels, [], [], [], [], []), sources, failed=failed)
    dropped = left_out.pop(OTHER_LENGTH, [])
    corpus.left_out |= left_out
    corpus.notes |= ({OTHER_LENGTH: dropped} if dropped else {}) | rendering_notes(sources)
    return corpus
