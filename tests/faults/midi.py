"""Damaged MIDI files, read and rendered as by the builders.

refused  a MidiError or AudioError of one line that names the file
handled  the piece lasts as long as another reader of the file says, and its sound is finite and
         ends with it, or earlier
silent   another length, or sound beyond the end; other notes cannot be detected
"""

import struct
import warnings
import zlib
from fractions import Fraction
from pathlib import Path

import mido
import numpy as np

from damff_jax.audio import AudioError, AudioWarning
from input_pipeline.corpus import CorpusError
from input_pipeline.midi import MidiError, MidiFile, find_soundfonts, midi_seconds
from tests.faults.mutations import mutate

RATE = 8_000
# Of a piece that damage has made hours long, only the beginning is rendered.
_RENDERED_S = 3.0
# Rendering takes most of the time.
_RENDERED_SHARE = 0.25
_DATA_BYTES = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
_SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_SMPTE = {24: 24, 25: 25, 29: Fraction(30_000, 1_001), 30: 30}


def make_inputs(folder: Path, seed: int) -> None:
    """Short pieces with one track and several, with times in beats and in seconds."""
    rng = np.random.default_rng(seed)
    for i, (kind, n_tracks, division) in enumerate(
        [(0, 1, 480), (1, 1, 96), (1, 3, 480), (1, 2, 120), (0, 1, -25 * 256 + 40)]
    ):
        midi = mido.MidiFile(type=kind, ticks_per_beat=division)
        for k in range(n_tracks):
            midi.tracks.append(_track(rng, k, 40 * division if division < 0 else division))
        midi.save(folder / f"{i}.mid")


def _track(rng: np.random.Generator, k: int, beat: int) -> mido.MidiTrack:
    track, beat = mido.MidiTrack(), abs(beat) % 2000
    track.append(mido.MetaMessage("track_name", name=f"track {k}"))
    for _ in range(8):
        if rng.random() < 0.3:
            tempo = int(rng.integers(200_000, 900_000))
            track.append(mido.MetaMessage("set_tempo", tempo=tempo, time=int(rng.integers(beat))))
        if rng.random() < 0.2:
            track.append(mido.Message("sysex", data=(1, 2, 3)))
        note, channel = int(rng.integers(40, 90)), int(rng.choice([0, 1, 9]))
        track.append(mido.Message("program_change", program=int(rng.integers(128))))
        track.append(mido.Message("note_on", note=note, channel=channel, velocity=80))
        off = {"note": note, "channel": channel, "time": int(rng.integers(1, 2 * beat))}
        track.append(mido.Message("note_off", **off))
    return track


class Trials:
    def __init__(self, folder: Path, seed: int):
        self._seed = seed
        self._contents = [path.read_bytes() for path in sorted(folder.iterdir())]
        self._path = folder.parent / f"{zlib.crc32(str(folder).encode())}_{id(self)}.mid"
        # The smallest, for speed.
        self._soundfont = min(find_soundfonts(), key=lambda path: Path(path).stat().st_size)

    def run(self, number: int) -> tuple[str, str]:
        rng = np.random.default_rng([self._seed, 6, number])
        content = self._contents[rng.integers(len(self._contents))]
        mutated = mutate(content, rng)
        self.what = f"{mutated.what} of {len(content)} bytes"
        self._path.write_bytes(mutated.content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", AudioWarning)
            try:
                return self._judge(mutated.content, rng.random() < _RENDERED_SHARE)
            except (MidiError, AudioError) as error:
                one_line = str(error).startswith(f"{self._path}: ") and "\n" not in str(error)
                return "refused" if one_line else "crashed", f"{self.what}: {error}"
            except CorpusError as error:
                return "crashed", f"{self.what}: not an error of the file: {error}"

    def _judge(self, content: bytes, is_rendered: bool) -> tuple[str, str]:
        seconds, expected = midi_seconds(self._path), seconds_of(content)
        if expected is None or abs(seconds - expected) > 1e-6 * expected:
            return "silent", f"{self.what}: {seconds} s long, and not {expected}"
        if not is_rendered:
            return "handled", self.what
        seconds = min(seconds, _RENDERED_S)
        blocks = list(MidiFile(str(self._path), self._soundfont, seconds).blocks(RATE))
        samples = np.concatenate(blocks)
        if len(samples) > round(seconds * RATE) or not np.isfinite(samples).all():
            return "silent", f"{self.what}: {len(samples)} samples of {seconds} s"
        return "handled", self.what


def seconds_of(content: bytes) -> float | None:
    """The end of a MIDI file, read in another way than by the product; None if it has none."""
    try:
        size, _, n_tracks, division = struct.unpack(">IHHh", content[4:14])
        place, ends, tempi = 8 + size, [0], []
        for _ in range(n_tracks):
            (size,) = struct.unpack(">I", content[place + 4 : place + 8])
            end, more = _read_track(content[place + 8 : place + 8 + size])
            place += 8 + size
            ends.append(end)
            tempi += more
    except (IndexError, struct.error, KeyError):
        return None
    if division < 0:
        return float(max(ends) / (_SMPTE[-(division >> 8)] * (division & 0xFF)))
    seconds, tick, tempo = Fraction(0), 0, 500_000
    # Sorting keeps the order of the tracks.
    for at, new in [*sorted(tempi, key=lambda x: x[0]), (max(ends), 0)]:
        seconds += Fraction((at - tick) * tempo, 1_000_000 * division)
        tick, tempo = at, new
    return float(seconds)


def _read_track(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """The last tick of a track, and its tempi as (tick, microseconds)."""
    place, tick, status, tempi = 0, 0, 0, []

    def number() -> int:
        nonlocal place
        value = 0
        while True:
            byte = data[place]
            place += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    while place < len(data):
        tick += number()
        if data[place] == 0xFF:
            kind, place = data[place + 1], place + 2
            length = number()
            if kind == 0x51:
                tempi.append((tick, int.from_bytes(data[place : place + 3])))
            place += length
            continue
        if not data[place] & 0x80 and status >= 0xF0:
            raise KeyError("no running status")
        if data[place] & 0x80:
            status, place = data[place], place + 1
        if status in (0xF0, 0xF7):
            length = number()
            place += length
        elif status >= 0xF0:
            place += _SYSTEM_BYTES.get(status, 0)
        else:
            place += _DATA_BYTES[status >> 4]
    return tick, tempi
