"""MIDI files as a source of sound: their length, and fluidsynth to render them."""

import dataclasses
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from damff_jax import audio
from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.corpus import CorpusError

SOUNDFONT_VARIABLE = "DAMFF_SOUNDFONT"
SOUNDFONTS = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/TimGM6mb.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/soundfonts/default.sf2",
)
# No MIDI devices and no shell; gain and Hz.
_RENDERING = ("-ni", "-q", "-g", "0.5", "-r", "44100")


@dataclasses.dataclass(frozen=True)
class MidiFile:
    """A MIDI file as a source of sound.

    Attributes:
      duration_s: the end of the piece; what fluidsynth lets ring on after it is cut off.
    """

    path: str
    soundfont: str
    duration_s: float

    def blocks(self, sample_rate: int) -> Iterator[np.ndarray]:
        # fluidsynth writes the sample rate it is told; rendering at one rate keeps the sound of a
        # piece independent of the features.
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rendered.wav")
            command = ["fluidsynth", *_RENDERING, "-F", path, self.soundfont, self.path]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            # Without the soundfont, fluidsynth goes on with one of its own.
            failed = result.returncode or "fluidsynth: error" in result.stderr
            if failed or not os.path.exists(path):
                reason = " ".join(result.stderr.split())[-200:] or "no output"
                raise audio.AudioError(f"{self.path}: fluidsynth failed ({reason})")
            remaining = round(self.duration_s * sample_rate)
            for block in audio.stream(path, sample_rate):
                yield block[:remaining]
                remaining -= min(len(block), remaining)
                if not remaining:
                    return

    def identity(self) -> str:
        soundfont = _digest_once(self.soundfont, os.stat(self.soundfont).st_mtime_ns)
        rendering = " ".join(_RENDERING)
        return f"midi {audio.digest(self.path)} {soundfont} {rendering} {self.duration_s!r}"


@functools.lru_cache(maxsize=1)
def _digest_once(path: str, mtime_ns: int) -> str:
    del mtime_ns
    return audio.digest(path)


def midi_seconds(path: Path) -> float:
    """The end of a MIDI file in seconds: its latest end of track, by the tempi of all tracks.

    Raises:
      CorpusError: it is no MIDI file, or has no length.
    """
    try:
        import mido
    except ImportError as error:
        raise CorpusError(
            "reading MIDI files needs the extra: pip install damff_jax[midi]"
        ) from error
    try:
        seconds = float(mido.MidiFile(path).length)
    except (OSError, EOFError, ValueError, LookupError, TypeError, mido.KeySignatureError) as error:
        raise CorpusError(f"{path}: not readable as MIDI ({error!r})") from error
    if seconds < SEGMENT_SECONDS:
        raise CorpusError(f"{path}: {seconds:.2f} s long, shorter than a segment")
    return seconds


def find_soundfont() -> str:
    """The soundfont to render with.

    Raises:
      CorpusError: there is none, or no fluidsynth.
    """
    if shutil.which("fluidsynth") is None:
        raise CorpusError(
            "fluidsynth is missing, which renders MIDI; Debian: apt-get install fluidsynth"
        )
    chosen = os.environ.get(SOUNDFONT_VARIABLE)
    if chosen:
        if not os.path.isfile(chosen):
            raise CorpusError(f"{SOUNDFONT_VARIABLE}: no such file: {chosen}")
        return chosen
    for path in SOUNDFONTS:
        if os.path.isfile(path):
            return path
    raise CorpusError(
        f"no soundfont: set {SOUNDFONT_VARIABLE} to an .sf2 file; Debian: "
        "apt-get install timgm6mb-soundfont"
    )
