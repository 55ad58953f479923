"""Damaged MIDI files, rendered as `prepare` renders them; needs fluidsynth and a soundfont.

refused  a CorpusError or AudioError of one line that names the file
handled  finite sound of the length that the file's tempi and notes say, or a warning. MIDI has no
         checksums, so other notes are other music.
silent   sound of another length, or that is not finite
"""

import shutil
import warnings
from pathlib import Path

import numpy as np

from damff_jax.audio import AudioError, AudioWarning
from input_pipeline import midi
from input_pipeline.corpus import CorpusError
from tests.faults.mutations import mutate

RATE = 8_000
_DUMMY = Path(midi.__file__).parent / "vgmidi" / "dummy_data"
# Rendering a piece takes about a hundredth of its length.
_LONGEST_S = 600


def make_inputs(folder: Path, seed: int) -> None:
    """Copies of the dummy data's pieces.

    Raises:
      CorpusError: fluidsynth or a soundfont is missing.
    """
    del seed
    midi.find_soundfonts()
    for path in _DUMMY.rglob("*.mid"):
        shutil.copy(path, folder)


class Trials:
    def __init__(self, folder: Path, seed: int):
        self._seed = seed
        self._contents = [path.read_bytes() for path in sorted(folder.iterdir())]
        self._path = folder.parent / f"midi_{id(self)}.mid"
        # The smallest is the fastest.
        self._soundfont = min(midi.find_soundfonts(), key=lambda path: Path(path).stat().st_size)

    def run(self, number: int) -> tuple[str, str]:
        rng = np.random.default_rng([self._seed, 6, number])
        content = self._contents[rng.integers(len(self._contents))]
        mutated = mutate(content, rng)
        self.what = f"{mutated.what} of {len(content)} bytes"
        self._path.write_bytes(mutated.content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                seconds = midi.midi_seconds(self._path)
                if seconds > _LONGEST_S:
                    return "handled", f"{seconds:.0f} s long, not rendered here"
                n, is_finite = self._render(seconds, is_altered=bool(rng.integers(2)))
            except (CorpusError, AudioError) as error:
                one_line = str(self._path) in str(error) and "\n" not in str(error)
                return "refused" if one_line else "crashed", f"{self.what}: {error}"
        foreign = [w for w in caught if not issubclass(w.category, AudioWarning)]
        if foreign:
            return "crashed", f"{self.what}: warning of another type: {foreign[0].message}"
        if not is_finite or not (caught or abs(n / RATE - seconds) <= 0.5):
            return "silent", f"{self.what}: {n / RATE:.2f} s of sound, {seconds:.2f} s long"
        return "handled", "sound of the length of the piece"

    def _render(self, seconds: float, *, is_altered: bool) -> tuple[int, bool]:
        """The number of samples, and whether they are finite."""
        piece = midi.MidiFile(str(self._path), self._soundfont, seconds)
        if is_altered:
            altered = piece.altered([self._soundfont], seed=self._seed, number=1)
            # At the tempo as written, so that the length stays.
            piece = midi.MidiFile(
                str(self._path), self._soundfont, seconds, altered.semitones, 1.0, altered.velocity
            )
        blocks = list(piece.blocks(RATE))
        return sum(map(len, blocks)), all(np.isfinite(block).all() for block in blocks)
