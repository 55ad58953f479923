"""MIDI files as a source of sound: their length, and rendering by fluidsynth.

A rendering can be altered: in another key, at another tempo, louder or softer, with another
soundfont. These are musical changes, which cannot be made in a spectrogram, and they leave a
listener's rating valid.
"""

import collections
import dataclasses
import functools
import hashlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from damff_jax import audio
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.system import extras
from input_pipeline import midi_events
from input_pipeline.corpus import CorpusError, Options
from input_pipeline.rendering import RENDERING, RenderingError, rendered
from input_pipeline.splits import SongList

SOUNDFONT_VARIABLE = "DAMFF_SOUNDFONT"
SOUNDFONTS = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/TimGM6mb.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/soundfonts/default.sf2",
)

# The largest changes of an altered rendering.
_SEMITONES = 6
_TEMPO = 0.07
_VELOCITY = 0.1
# A longer file is damaged; its labels and sound would fill the memory and the disk.
_LONGEST_S = 24 * 3600
_DRUMS = 9  # The channel whose notes are instruments.
# Frames per second of SMPTE time codes, as they stand in a file and as whole numbers; 29 stands for
# 30 frames in 1.001 s.
_SMPTE = {24: (24, 1_000_000), 25: (25, 1_000_000), 29: (30, 1_001_000), 30: (30, 1_000_000)}


class MidiError(CorpusError):
    """A MIDI file that cannot be used; the message is one line and names the file."""


@dataclasses.dataclass(frozen=True)
class MidiFile:
    """A MIDI file as a source of sound.

    Attributes:
      duration_s: the end of the rendered piece; the reverberation after it is cut off.
      semitones: transposition of all notes but drums.
      tempo: factor of the speed.
      velocity: factor of the notes' velocities.
    """

    path: str
    soundfont: str
    duration_s: float
    semitones: int = 0
    tempo: float = 1.0
    velocity: float = 1.0

    def blocks(self, sample_rate: int) -> Iterator[np.ndarray]:
        """Renders the piece up to its end, see `Source.blocks`.

        Raises:
          AudioError: the file or the soundfont cannot be rendered.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                if _has_more_tracks(self.path):
                    message = (
                        f"{self.path}: tracks beyond those that its header counts are not played"
                    )
                    warnings.warn(message, audio.AudioWarning, stacklevel=2)
                score = self.path
                # fluidsynth reads times in beats only.
                if self.is_altered() or _is_in_seconds(self.path):
                    score = os.path.join(folder, "altered.mid")
                    self._alter(score)
                yield from rendered(score, self.soundfont, self.duration_s, sample_rate)
            except MidiError as error:
                raise audio.AudioError(str(error)) from error
            except (OSError, RenderingError) as error:
                raise audio.AudioError(f"{self.path}: {error}") from error

    def is_altered(self) -> bool:
        return (self.semitones, self.tempo, self.velocity) != (0, 1.0, 1.0)

    def soundfont_digest(self) -> str:
        try:
            return _digest_once(self.soundfont, os.stat(self.soundfont).st_mtime_ns)
        except OSError as error:
            raise audio.AudioError(f"{self.soundfont}: {error.strerror}") from error

    def identity(self) -> str:
        content = f"{audio.digest(self.path)} {self.soundfont_digest()}"
        changes = self.duration_s, self.semitones, self.tempo, self.velocity
        return f"midi {content} {' '.join(RENDERING)} {changes!r}"

    def altered(self, soundfonts: Sequence[str], *, seed: int, number: int) -> "MidiFile":
        """The piece altered by up to 6 semitones, 7 % of tempo and 10 % of velocity.

        The changes are a function of the seed, the file's name and the number, and apply to the
        piece as written, even if this one is altered already.
        """
        name = f"{seed}:{os.path.basename(self.path)}:{number}"
        rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
        semitones = int(rng.integers(-_SEMITONES, _SEMITONES, endpoint=True))
        tempo = float(rng.uniform(1 - _TEMPO, 1 + _TEMPO))
        velocity = float(rng.uniform(1 - _VELOCITY, 1 + _VELOCITY))
        soundfont = soundfonts[int(rng.integers(len(soundfonts)))]
        written_s = self.duration_s * self.tempo
        return MidiFile(self.path, soundfont, written_s / tempo, semitones, tempo, velocity)

    def _alter(self, path: str) -> None:
        """Writes the altered piece, with notes and tempi limited to the range of MIDI.

        Raises:
          AudioError: the file contains something that can be read but not written.
        """
        import mido

        midi = _read_in_beats(self.path)
        default_tempo = 500_000  # Microseconds per quarter note, unless the file sets it.
        for track in midi.tracks:
            for i, message in enumerate(track):
                if message.type == "set_tempo":
                    track[i] = message.copy(tempo=_within(message.tempo / self.tempo, 1, 2**24 - 1))
                elif message.type in ("note_on", "note_off", "polytouch"):
                    changes = {}
                    if message.channel != _DRUMS:
                        changes["note"] = _within(message.note + self.semitones, 0, 127)
                    # A note_on of velocity 0 ends a note.
                    if message.type == "note_on" and message.velocity:
                        changes["velocity"] = _within(message.velocity * self.velocity, 1, 127)
                    track[i] = message.copy(**changes)
        # Effective until the file's own first tempo, if it has any.
        tempo = _within(default_tempo / self.tempo, 1, 2**24 - 1)
        midi.tracks[0].insert(0, mido.MetaMessage("set_tempo", tempo=tempo))
        try:
            midi.save(path)
        except ValueError as error:
            raise audio.AudioError(f"{self.path}: cannot be altered ({error})") from error


@dataclasses.dataclass(frozen=True)
class RenderingOptions(Options):
    """Options of a data set of MIDI files.

    Args:
      renderings: number of renderings of every piece; all but the first are altered (see
        `MidiFile.altered`) and used for training only.
      rendering_seed: determines how pieces are altered.
    """

    renderings: int = 1
    rendering_seed: int = 0


def add_altered(
    sources: dict[str, MidiFile], soundfonts: Sequence[str], *, renderings: int, seed: int
) -> None:
    """Adds `renderings` − 1 altered renderings of every piece, named `<piece>@<number>`.

    Args:
      soundfonts, seed: see `MidiFile.altered`.

    Raises:
      CorpusError: `renderings` is not positive.
    """
    if renderings < 1:
        raise CorpusError(f"renderings {renderings}: must be 1 or more")
    for name, source in list(sources.items()):
        for number in range(1, renderings):
            altered = source.altered(soundfonts, seed=seed, number=number)
            sources[f"{name}@{number}"] = altered


def original_of(name: str) -> str:
    """The piece of a rendering, altered or not."""
    return re.sub(r"@\d+$", "", name)


def assign_altered(songs: SongList, split_of: Mapping[str, str]) -> dict[str, str]:
    """Extends a split of pieces to all renderings: altered ones are used for training only."""
    return {
        name: split_of[original_of(name)]
        for name in songs.n_segments
        if name in split_of or split_of.get(original_of(name)) == "train"
    }


def rendering_notes(sources: Mapping[str, MidiFile]) -> dict[str, list[str]]:
    """For the report of a build: the soundfonts, and how many songs each renders.

    Raises:
      AudioError: a soundfont cannot be read.
    """
    by_soundfont = collections.defaultdict(list)
    for source in sources.values():
        name = f"{os.path.basename(source.soundfont)} (SHA-256 {source.soundfont_digest()[:8]})"
        by_soundfont[name].append(source.is_altered())
    return {
        "soundfont": [
            f"{name}: {len(altered)} renderings, {sum(altered)} of them altered"
            for name, altered in by_soundfont.items()
        ]
    }


def midi_seconds(path: str | os.PathLike) -> float:
    """The length of a MIDI file in seconds: its latest end of track, by the tempi of all tracks.

    Raises:
      MidiError: not a MIDI file, or shorter than a segment or longer than a day.
      CorpusError: what reads MIDI files is not installed.
    """
    try:
        seconds = float(_read_in_beats(path).length)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, CorpusError):
            raise
        raise MidiError(f"{path}: not readable as MIDI ({_reason(error)})") from error
    if seconds < SEGMENT_SECONDS:
        raise MidiError(f"{path}: {seconds:.2f} s long, shorter than a segment")
    if not seconds <= _LONGEST_S:
        raise MidiError(f"{path}: {seconds:.3g} s long, longer than a day")
    return seconds


def find_soundfonts() -> list[str]:
    """The soundfonts to render with: normally the first, and all of them for altered renderings.

    They are those of the environment variable, separated by ':', or those in the usual places.

    Raises:
      CorpusError: there is no soundfont, or fluidsynth is missing.
    """
    if shutil.which("fluidsynth") is None:
        raise CorpusError(
            "fluidsynth, which renders MIDI, is missing; Debian: apt-get install fluidsynth"
        )
    chosen = list(filter(None, os.environ.get(SOUNDFONT_VARIABLE, "").split(os.pathsep)))
    for path in chosen:
        if not os.path.isfile(path):
            raise CorpusError(f"{SOUNDFONT_VARIABLE}: no such file: {path}")
    if chosen:
        return chosen
    paths: dict[str, str] = {}  # By real path, because several names can be links to one file.
    for path in filter(os.path.isfile, SOUNDFONTS):
        paths.setdefault(os.path.realpath(path), path)
    if not paths:
        raise CorpusError(
            f"no soundfont: set {SOUNDFONT_VARIABLE} to an .sf2 file; Debian: "
            "apt-get install timgm6mb-soundfont"
        )
    return list(paths.values())


@functools.lru_cache
def _digest_once(path: str, mtime_ns: int) -> str:
    del mtime_ns
    return audio.digest(path)


def _read_in_beats(path: str | os.PathLike) -> Any:
    """A MIDI file by mido; one with times in seconds is changed to beats of one second.

    Raises:
      MidiError: not a MIDI file, or of a kind that has no playing time.
      CorpusError: mido is not installed.
    """
    if message := extras.missing("midi"):
        raise CorpusError(f"reading MIDI files {message}")
    import mido

    midi_events.keep_times_of_unknown_meta_events()
    try:
        midi = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, LookupError, TypeError, mido.KeySignatureError) as error:
        raise MidiError(f"{path}: not readable as MIDI ({_reason(error)})") from error
    if midi.type not in (0, 1):
        raise MidiError(f"{path}: MIDI of type {midi.type}, whose tracks have no common time")
    if midi.ticks_per_beat == 0:
        raise MidiError(f"{path}: not readable as MIDI (no ticks per beat)")
    if any(map(midi_events.continues_system_event, _tracks(path)[0])):
        raise MidiError(
            f"{path}: not readable as MIDI (data without a status after a system event)"
        )
    if midi.ticks_per_beat > 0:
        return midi
    # SMPTE time: frames per second, negative, and ticks per frame; tempi have no effect.
    code, ticks = -(midi.ticks_per_beat >> 8), midi.ticks_per_beat & 0xFF
    if code not in _SMPTE or not ticks or not midi.tracks:
        raise MidiError(f"{path}: no MIDI time is {code} frames per second of {ticks} ticks")
    frames, tempo = _SMPTE[code]
    midi.ticks_per_beat = frames * ticks
    for track in midi.tracks:
        for i, message in enumerate(track):
            if message.type == "set_tempo":
                track[i] = message.copy(tempo=tempo)
    midi.tracks[0].insert(0, mido.MetaMessage("set_tempo", tempo=tempo))
    return midi


def _is_in_seconds(path: str) -> bool:
    """Whether a MIDI file's times are SMPTE time codes.

    Raises:
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return file.read(14)[12:13] >= b"\x80"


def _has_more_tracks(path: str) -> bool:
    """Whether a track follows the last one that the header of a MIDI file counts.

    Raises:
      OSError: the file cannot be read.
    """
    return b"MTrk" in _tracks(path)[1]


def _tracks(path: str | os.PathLike) -> tuple[list[bytes], bytes]:
    """The events of all tracks that the header of a MIDI file counts, and what follows them.

    Raises:
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read()
    place, n_tracks = 8 + int.from_bytes(content[4:8]), int.from_bytes(content[10:12])
    tracks = []
    for _ in range(n_tracks):
        start = place + 8
        place = start + int.from_bytes(content[place + 4 : start])
        tracks.append(content[start:place])
    return tracks, content[place:]


def _reason(error: Exception) -> str:
    """What is wrong with a file, on one line."""
    return " ".join(str(error).split()) or "it ends early"


def _within(value: float, low: int, high: int) -> int:
    return min(max(round(value), low), high)
