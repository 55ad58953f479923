"""MIDI files as sound: their length, soundfonts, rendering, and altered renderings."""

import dataclasses
import os
import random
import shutil
import struct
import threading
import time
import tracemalloc

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.audio import AudioError, AudioWarning
from input_pipeline import midi
from input_pipeline.corpus import CorpusError
from input_pipeline.midi import (
    MidiError,
    MidiFile,
    add_altered,
    assign_altered,
    find_soundfonts,
    midi_seconds,
    original_of,
    rendering_notes,
)
from input_pipeline.splits import SongList

# The length of a MIDI file -----------------------------------------------------------------------


def tempo(value, at=0):
    return mido.MetaMessage("set_tempo", tempo=value, time=at)


def end(at=0):
    return mido.MetaMessage("end_of_track", time=at)


def note(beats):
    return [
        mido.Message("note_on", note=60, velocity=80),
        mido.Message("note_off", note=60, time=480 * beats),
    ]


def on(note, velocity=80, channel=0, time=0):
    return mido.Message("note_on", note=note, velocity=velocity, channel=channel, time=time)


def off(note, channel=0, time=480):
    return mido.Message("note_off", note=note, velocity=64, channel=channel, time=time)


def write_midi(path, *tracks):
    mido.MidiFile(tracks=[mido.MidiTrack(track) for track in tracks], ticks_per_beat=480).save(path)
    return path


MIDI_FILES = {
    "default tempo": ([[*note(4), end()]], 2.0),
    "tempo of its own": ([[tempo(1_000_000), *note(4), end()]], 4.0),
    "tempo changes": ([[tempo(500_000), *note(2), tempo(1_000_000), *note(2), end()]], 3.0),
    "silence before the end of track": ([[*note(4), end(480)]], 2.5),
    "tempo in another track than the notes": ([[tempo(250_000), end()], [*note(4), end()]], 1.0),
    "tempo in the second track": ([[*note(4), end()], [tempo(1_000_000, 960), end()]], 3.0),
    "tempi in several tracks": (
        [
            [tempo(500_000), tempo(1_000_000, 960), end()],
            [*note(4), end(960)],
            [tempo(250_000, 480 * 5), end()],
        ],
        2 * 0.5 + 3 * 1.0 + 1 * 0.25,
    ),
    "latest end of track in the first track": ([[*note(1), end(480 * 5)], [*note(2), end()]], 3.0),
    "latest end of track in a track without notes": ([[*note(2), end()], [end(480 * 4)]], 2.0),
}


@pytest.mark.parametrize(("tracks", "seconds"), MIDI_FILES.values(), ids=MIDI_FILES)
def test_length_is_the_latest_end_of_track_by_the_tempi_of_all_tracks(tmp_path, tracks, seconds):
    path = write_midi(tmp_path / "a.mid", *tracks)
    assert midi_seconds(path) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not readable as MIDI"),
        (b"RIFF" + b"\0" * 100, "not readable as MIDI"),
        (None, r"0\.00 s long, shorter than a segment"),
    ],
)
def test_file_without_a_length_is_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "a.mid"
    write_midi(path, [end()]) if content is None else path.write_bytes(content)
    with pytest.raises(CorpusError, match=f"^{path}: {reason}"):
        midi_seconds(path)


def smpte_midi(path, code, ticks, *, n_ticks, tempo=b""):
    """A file with times in SMPTE frames: one note of `n_ticks`."""
    length = bytes([0x80 | n_ticks >> 14, 0x80 | n_ticks >> 7 & 0x7F, n_ticks & 0x7F])
    track = tempo + b"\0\x90\x3c\x50" + length + b"\x80\x3c\0\0\xff\x2f\0"
    header = struct.pack(">4sIHHbB4sI", b"MThd", 6, 0, 1, -code, ticks, b"MTrk", len(track))
    path.write_bytes(header + track)
    return path


@pytest.mark.parametrize("tempo", [b"", b"\0\xff\x51\x03\x01\x00\x00"])
@pytest.mark.parametrize(
    ("code", "ticks", "per_second"),
    [(24, 40, 960), (25, 40, 1000), (29, 80, 80 * 30 / 1.001), (30, 100, 3000), (30, 255, 7650)],
)
def test_smpte_times_are_seconds_whatever_the_tempo(tmp_path, code, ticks, per_second, tempo):
    path = smpte_midi(tmp_path / "a.mid", code, ticks, n_ticks=9600, tempo=tempo)
    assert midi_seconds(path) == pytest.approx(9600 / per_second, rel=1e-9)
    altered_file(path, tmp_path, semitones=2, tempo=1.25)
    rendered = midi_seconds(tmp_path / "altered.mid")
    assert rendered == pytest.approx(9600 / per_second / 1.25, rel=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ((12, b"\x01\xe0"), b"\xe3\0", "no MIDI time is 29 frames per second of 0 ticks"),
        ((12, b"\x01\xe0"), b"\x9c\x28", "no MIDI time is 100 frames per second of 40 ticks"),
        ((12, b"\x01\xe0"), b"\0\0", "not readable as MIDI (no ticks per beat)"),
        ((8, b"\0\x01"), b"\0\x02", "MIDI of type 2, whose tracks have no common time"),
        ((8, b"\0\x01"), b"\x01\x01", "MIDI of type 257, whose tracks have no common time"),
        ((10, b"\0\x01"), b"\0\x02", "not readable as MIDI (it ends early)"),
        ((0, b"MThd"), b"RIFF", "not readable as MIDI (MThd not found. Probably not a MIDI file)"),
        (
            (24, b"\x3c"),
            b"\xbc",
            "not readable as MIDI (data byte must be in range 0..127)",
        ),
    ],
)
def test_midi_that_cannot_be_used_is_named_for_what_it_is(tmp_path, old, new, reason):
    path = write_midi(tmp_path / "a.mid", [*note(4), end()])
    content, (place, was) = path.read_bytes(), old
    assert content[place : place + len(was)] == was
    path.write_bytes(content[:place] + new + content[place + len(was) :])
    with pytest.raises(MidiError) as caught:
        midi_seconds(path)
    assert str(caught.value).startswith(f"{path}: {reason}")


def test_an_unknown_meta_event_keeps_its_time(tmp_path):
    path = write_midi(tmp_path / "a.mid", [*note(4), tempo(500_000, 960), *note(2), end()])
    assert midi_seconds(path) == pytest.approx(4.0)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\xff\x51\x03", b"\xff\x41\x03"))
    assert midi_seconds(path) == pytest.approx(4.0)
    altered_file(path, tmp_path, semitones=1)
    assert midi_seconds(tmp_path / "altered.mid") == pytest.approx(4.0)


def test_data_without_a_status_after_a_system_event_are_refused(tmp_path):
    sysex = mido.Message("sysex", data=(1, 2, 3))
    path = write_midi(tmp_path / "a.mid", [sysex, *note(4), end()])
    assert midi_seconds(path) == 2.0
    path.write_bytes(path.read_bytes().replace(bytes([0x90, 60, 80]), bytes([60, 1, 0])))
    with pytest.raises(MidiError, match="data without a status after a system event"):
        midi_seconds(path)


def test_mutated_midi_files_are_read_or_refused(tmp_path):
    path = tmp_path / "a.mid"
    key = mido.MetaMessage("key_signature", key="F#m")
    write_midi(path, [key, tempo(500_000), *note(2), end()], [*note(4), end()])
    content, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(1000):
        mutated = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        path.write_bytes(mutated)
        try:
            assert midi_seconds(path) >= 0.5
        except CorpusError:
            refused += 1
    assert 0 < refused < 1000


# Fluidsynth and soundfonts -----------------------------------------------------------------------

needs_fluidsynth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not any(map(os.path.isfile, midi.SOUNDFONTS)),
    reason="fluidsynth or a soundfont is not installed",
)


def test_missing_fluidsynth_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(
        CorpusError, match=r"^fluidsynth, .* is missing; Debian: apt-get install fluidsynth"
    ):
        find_soundfonts()


@pytest.mark.usefixtures("fake_fluidsynth")
def test_missing_soundfont_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.delenv(midi.SOUNDFONT_VARIABLE, raising=False)
    monkeypatch.setattr(midi, "SOUNDFONTS", ("/none.sf2",))
    with pytest.raises(CorpusError, match=r"no soundfont: set DAMFF_SOUNDFONT .* apt-get install"):
        find_soundfonts()


@pytest.mark.usefixtures("fake_fluidsynth")
def test_chosen_soundfont_comes_before_the_usual_places(tmp_path, monkeypatch):
    for name in ("chosen.sf2", "usual.sf2"):
        (tmp_path / name).touch()
    monkeypatch.setattr(midi, "SOUNDFONTS", ("/none.sf2", str(tmp_path / "usual.sf2")))
    monkeypatch.delenv(midi.SOUNDFONT_VARIABLE, raising=False)
    assert find_soundfonts() == [str(tmp_path / "usual.sf2")]
    monkeypatch.setenv(midi.SOUNDFONT_VARIABLE, str(tmp_path / "chosen.sf2"))
    assert find_soundfonts() == [str(tmp_path / "chosen.sf2")]
    monkeypatch.setenv(midi.SOUNDFONT_VARIABLE, "/nowhere.sf2")
    with pytest.raises(CorpusError, match=r"DAMFF_SOUNDFONT: no such file: /nowhere\.sf2"):
        find_soundfonts()


def test_several_soundfonts_can_be_chosen(soundfonts, tmp_path, monkeypatch):
    usual = tmp_path / "usual.sf2"
    usual.touch()
    monkeypatch.setattr(midi, "SOUNDFONTS", (str(usual),))
    first, second = soundfonts
    for chosen, found in (
        (f"{second}:{first}", [second, first]),
        (f":{first}:", [first]),
        (":", [str(usual)]),
        ("", [str(usual)]),
    ):
        monkeypatch.setenv(midi.SOUNDFONT_VARIABLE, chosen)
        assert find_soundfonts() == found
    monkeypatch.setenv(midi.SOUNDFONT_VARIABLE, f"{first}:/nowhere.sf2")
    with pytest.raises(CorpusError, match=r"DAMFF_SOUNDFONT: no such file: /nowhere\.sf2$"):
        find_soundfonts()


def test_a_usual_soundfont_under_two_names_is_one(soundfonts, tmp_path, monkeypatch):
    monkeypatch.delenv(midi.SOUNDFONT_VARIABLE)
    link = tmp_path / "default.sf2"
    link.symlink_to(soundfonts[1])
    monkeypatch.setattr(midi, "SOUNDFONTS", (str(link), *soundfonts))
    assert find_soundfonts() == [str(link), soundfonts[0]]


@pytest.mark.usefixtures("fake_fluidsynth")
def test_fluidsynth_that_writes_nothing_is_an_error(tmp_path):
    path = write_midi(tmp_path / "a.mid", note(4))
    with pytest.raises(AudioError, match=f"^{path}: fluidsynth failed"):
        list(MidiFile(str(path), "a.sf2", 2.0).blocks(16_000))


def write_fluidsynth(tmp_path, text):
    """A program in the place of fluidsynth; `$OUT` is where its sound goes."""
    program = tmp_path / "bin" / "fluidsynth"
    find = 'while [ $# -gt 0 ]; do [ "$1" = -F ] && OUT=$2; shift; done\n'
    program.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{find}{text}\n")


def rendering(tmp_path, seconds=2.0):
    path = write_midi(tmp_path / "a.mid", note(4))
    return MidiFile(str(path), "a.sf2", seconds)


@pytest.mark.usefixtures("fake_fluidsynth")
def test_rendering_ends_with_the_piece_if_fluidsynth_does_not(tmp_path):
    write_fluidsynth(tmp_path, 'exec cat /dev/zero > "$OUT"')
    tracemalloc.start()
    blocks = rendering(tmp_path, 600.0).blocks(16_000)
    assert sum(map(len, blocks)) == 600 * 16_000
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()


@pytest.mark.usefixtures("fake_fluidsynth")
def test_fluidsynth_that_gives_nothing_for_ever_is_ended(tmp_path, monkeypatch):
    write_fluidsynth(tmp_path, 'exec 3> "$OUT"; exec sleep 100')
    timer = threading.Timer
    monkeypatch.setattr(threading, "Timer", lambda seconds, kill: timer(seconds / 620, kill))
    started = time.monotonic()
    with pytest.raises(AudioError, match=r"a\.mid: fluidsynth failed \(no end after 124 s\)"):
        list(rendering(tmp_path).blocks(16_000))
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("fake_fluidsynth")
def test_fluidsynth_that_fails_in_the_middle_is_an_error(tmp_path):
    sound = 'head -c 9001 /dev/zero > "$OUT"'
    for text in (f"{sound}; echo 'fluidsynth: error: bad' >&2", f"{sound}; echo bad >&2; exit 1"):
        write_fluidsynth(tmp_path, text)
        with pytest.raises(AudioError, match=r"a\.mid: fluidsynth failed \(.*bad\)"):
            list(rendering(tmp_path).blocks(44_100))
    write_fluidsynth(tmp_path, sound)
    assert sum(map(len, rendering(tmp_path).blocks(44_100))) == 2250


@pytest.mark.usefixtures("fake_fluidsynth")
def test_fluidsynth_ends_with_its_reader(tmp_path):
    write_fluidsynth(tmp_path, f'echo $$ > {tmp_path}/pid; exec cat /dev/zero > "$OUT"')
    blocks = rendering(tmp_path, 600.0).blocks(44_100)
    next(blocks)
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, 0)
    blocks.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@needs_fluidsynth
@pytest.mark.parametrize(
    "track",
    [
        [on(60), end(1920)],
        [on(60), on(64, time=1920), end()],
        [mido.Message("control_change", control=64, value=127), on(60), off(60, time=1920), end()],
    ],
    ids=["no end of a note", "a note at the end", "the pedal is held"],
)
def test_a_note_that_never_ends_does_not_sound_beyond_the_piece(tmp_path, track):
    path = write_midi(tmp_path / "a.mid", track)
    samples = list(MidiFile(str(path), find_soundfonts()[0], midi_seconds(path)).blocks(16_000))
    assert sum(map(len, samples)) == 2 * 16_000
    assert np.abs(np.concatenate(samples)).max() > 0.003


@needs_fluidsynth
def test_smpte_times_are_rendered(tmp_path):
    path = smpte_midi(tmp_path / "a.mid", 25, 40, n_ticks=2000)
    samples = list(MidiFile(str(path), find_soundfonts()[0], midi_seconds(path)).blocks(16_000))
    assert sum(map(len, samples)) == 2 * 16_000
    assert np.abs(np.concatenate(samples)).max() > 0.003


@needs_fluidsynth
def test_tracks_that_the_header_does_not_count_are_remarked(tmp_path):
    path = write_midi(tmp_path / "a.mid", [*note(4), end()], [*note(4), end()])
    content = bytearray(path.read_bytes())
    source = MidiFile(str(path), find_soundfonts()[0], 2.0)
    list(source.blocks(16_000))  # No warning, which would be an error.
    content[11] = 1
    path.write_bytes(content)
    with pytest.warns(AudioWarning, match=r"a\.mid: tracks beyond those that its header counts"):
        list(source.blocks(16_000))


@needs_fluidsynth
@pytest.mark.parametrize("sample_rate", [44_100, 16_000])
def test_rendered_piece_sounds_and_ends_with_its_midi_file(tmp_path, sample_rate):
    path = write_midi(tmp_path / "a.mid", [*note(4), end()])
    source = MidiFile(str(path), find_soundfonts()[0], midi_seconds(path))
    samples = np.concatenate(list(source.blocks(sample_rate)))
    assert samples.shape == (2 * sample_rate,) and samples.dtype == np.float32
    for half in np.split(samples, 2):
        assert np.abs(half).max() > 0.003


@needs_fluidsynth
def test_unreadable_soundfont_is_an_error_not_another_sound(tmp_path):
    path = write_midi(tmp_path / "a.mid", [*note(4), end()])
    soundfont = tmp_path / "bad.sf2"
    soundfont.write_text("no sound")
    with pytest.raises(AudioError, match=r"fluidsynth failed .*not a SoundFont"):
        list(MidiFile(str(path), str(soundfont), 2.0).blocks(16_000))


# Altered renderings ------------------------------------------------------------------------------


def altered_file(path, tmp_path, **changes):
    """The file that fluidsynth gets for a piece with these changes."""
    source = MidiFile(str(path), "a.sf2", midi_seconds(path), **changes)
    source._alter(str(tmp_path / "altered.mid"))
    return mido.MidiFile(tmp_path / "altered.mid")


def test_a_handmade_piece_is_altered(tmp_path):
    pedal = mido.Message("control_change", control=64, value=127, time=10)
    touch = mido.Message("polytouch", note=60, value=9)
    path = write_midi(
        tmp_path / "a.mid",
        [mido.MetaMessage("track_name", name="t", time=5), on(60), touch, off(60), end(7)],
        [on(36, channel=9), pedal, off(36, channel=9), on(125, 120), on(125, 0, time=480), end()],
    )
    midi_file = altered_file(path, tmp_path, semitones=5, tempo=0.5, velocity=1.1)
    assert midi_file.ticks_per_beat == 480 and midi_file.type == 1
    assert [list(track) for track in midi_file.tracks] == [
        [
            tempo(1_000_000),
            mido.MetaMessage("track_name", name="t", time=5),
            on(65, 88),
            touch.copy(note=65),
            off(65),
            end(7),
        ],
        [
            on(36, 88, channel=9),
            pedal,
            off(36, channel=9),
            on(127, 127),
            on(127, 0, time=480),
            end(),
        ],
    ]


messages = st.one_of(
    st.builds(on, *(st.integers(0, 127),) * 2, st.sampled_from([0, 9]), st.integers(0, 960)),
    st.builds(off, st.integers(0, 127), st.sampled_from([0, 9]), st.integers(0, 960)),
    st.builds(tempo, st.integers(100_000, 4_000_000), st.integers(0, 960)),
)


@settings(deadline=None, max_examples=60)
@given(
    tracks=st.lists(st.lists(messages, max_size=12), min_size=1, max_size=3),
    semitones=st.integers(-6, 6),
    factor=st.floats(0.93, 1.07),
    velocity=st.floats(0.9, 1.1),
)
def test_only_pitch_tempo_and_velocity_are_altered(
    tmp_path_factory, tracks, semitones, factor, velocity
):
    folder = tmp_path_factory.mktemp("midi")
    path = write_midi(folder / "a.mid", *([*track, end(4800)] for track in tracks))
    midi_file = altered_file(path, folder, semitones=semitones, tempo=factor, velocity=velocity)
    first, *after = midi_file.tracks[0]
    assert (first.type, first.time) == ("set_tempo", 0)
    assert first.tempo == pytest.approx(500_000 / factor, abs=0.5)
    for old, new in zip(tracks, [after, *midi_file.tracks[1:]], strict=True):
        assert len(new) == len(old) + 1
        for a, b in zip(old, new, strict=False):
            assert (a.type, a.time) == (b.type, b.time)
            if a.type == "set_tempo":
                assert b.tempo == pytest.approx(a.tempo / factor, abs=0.5)
                continue
            moved = 0 if a.channel == 9 else semitones
            assert (b.channel, b.note) == (a.channel, np.clip(a.note + moved, 0, 127))
            if a.type == "note_off" or a.velocity == 0:
                assert b.velocity == a.velocity
            else:
                assert b.velocity == pytest.approx(np.clip(a.velocity * velocity, 1, 127), abs=0.5)
    length = midi_seconds(path) / factor
    assert midi_seconds(folder / "altered.mid") == pytest.approx(length, rel=1e-5)


@pytest.mark.parametrize(("tracks", "seconds"), MIDI_FILES.values(), ids=MIDI_FILES)
def test_the_length_of_an_altered_piece_is_that_of_its_rendering(tmp_path, tracks, seconds):
    path = write_midi(tmp_path / "a.mid", *tracks)
    for number in range(3):
        source = MidiFile(str(path), "a.sf2", midi_seconds(path))
        source = source.altered(["a.sf2"], seed=0, number=number)
        source._alter(str(tmp_path / "altered.mid"))
        assert source.duration_s == pytest.approx(seconds / source.tempo, rel=1e-12)
        rendered = midi_seconds(tmp_path / "altered.mid")
        assert rendered == pytest.approx(source.duration_s, rel=1e-5)


def test_tempi_stay_within_the_range_of_midi(tmp_path):
    path = write_midi(tmp_path / "a.mid", [tempo(2**24 - 1), *note(1), tempo(1), end(480)])
    for factor in (0.93, 2.5):
        midi_file = altered_file(path, tmp_path, tempo=factor)
        tempi = [message.tempo for message in midi_file.tracks[0] if message.type == "set_tempo"]
        assert tempi[1:] == [min(round((2**24 - 1) / factor), 2**24 - 1), 1]


def test_mutated_midi_files_are_altered_or_refused(tmp_path):
    path = tmp_path / "a.mid"
    write_midi(path, [tempo(500_000), *note(2), end()], [on(60), off(60), *note(4), end()])
    content, rng = path.read_bytes(), random.Random(1)
    # A real-time message can be read but not written.
    mutants = [content.replace(bytes([0x90, 60, 80]), bytes([0xF8, 0, 0xF8]), 1)]
    for _ in range(500):
        mutants.append(bytearray(content))
        for _ in range(rng.randint(1, 3)):
            mutants[-1][rng.randrange(len(content))] = rng.randrange(256)
    altered = refused = 0
    for mutant in mutants:
        path.write_bytes(mutant)
        try:
            altered_file(path, tmp_path, semitones=1, tempo=1.01)
            altered += 1
        except AudioError as error:
            assert str(error).startswith(f"{path}: cannot be altered")
            refused += 1
        except CorpusError:
            pass
    assert altered > 50 and refused > 0


def test_how_a_piece_is_altered_depends_only_on_seed_name_and_number():
    def alter(path="/x/a.mid", seed=0, number=1, **changes):
        source = dataclasses.replace(MidiFile(path, "a.sf2", 60.0), **changes)
        source = source.altered(["a.sf2", "b.sf2"], seed=seed, number=number)
        return dataclasses.replace(source, path="")

    assert alter() == alter(path="/y/a.mid") == alter(soundfont="c.sf2")
    # An altered piece is not altered further.
    assert alter() == alter(tempo=1.25, duration_s=48.0, semitones=3, velocity=0.9)
    different = [alter(), alter(number=2), alter(seed=1), alter(path="/x/b.mid")]
    assert len(set(different)) == 4


def test_alterations_fill_their_ranges():
    soundfonts = ["a.sf2", "b.sf2", "c.sf2"]
    source = MidiFile("/x/a.mid", "a.sf2", 60.0)
    drawn = [source.altered(soundfonts, seed=0, number=n) for n in range(300)]
    assert {x.semitones for x in drawn} == set(range(-6, 7))
    assert {x.soundfont for x in drawn} == set(soundfonts)
    for values, width in ([x.tempo for x in drawn], 0.07), ([x.velocity for x in drawn], 0.1):
        assert 1 - width <= min(values) < 1 - 0.95 * width
        assert 1 + 0.95 * width < max(values) <= 1 + width


def test_pieces_get_altered_renderings():
    sources = {name: MidiFile(f"/x/{name}.mid", "a.sf2", 60.0) for name in "abc"}
    add_altered(sources, ["a.sf2"], renderings=3, seed=4)
    assert sources.keys() == {f"{piece}{end}" for piece in "abc" for end in ("", "@1", "@2")}
    for name, source in sources.items():
        piece, _, number = name.partition("@")
        written = MidiFile(f"/x/{piece}.mid", "a.sf2", 60.0)
        altered = written.altered(["a.sf2"], seed=4, number=int(number or 0))
        assert source == (altered if number else written)


@pytest.mark.parametrize(
    ("name", "piece"),
    [("a", "a"), ("a@1", "a"), ("a@12", "a"), ("a@b@3", "a@b"), ("a@b", "a@b"), ("a@1b", "a@1b")],
)
def test_a_rendering_names_its_piece(name, piece):
    assert original_of(name) == piece


def test_altered_renderings_are_only_in_the_training_split_of_their_piece():
    pieces = {"a": "train", "b": "validation", "c": "train", "d": "test", "e": "train"}
    names = [f"{piece}{end}" for piece in "abcdf" for end in ("", "@1", "@2")]
    split_of = assign_altered(SongList(tuple(names), dict.fromkeys(names, 8)), pieces)
    # There is no sound of e, and f is in no split.
    assert split_of == {
        **{f"{piece}{end}": "train" for piece in "ac" for end in ("", "@1", "@2")},
        "b": "validation",
        "d": "test",
    }


def test_one_rendering_is_the_piece_as_it_is_written_and_none_is_refused():
    sources = {"a": MidiFile("/x/a.mid", "a.sf2", 60.0)}
    add_altered(sources, ["a.sf2"], renderings=1, seed=0)
    assert sources == {"a": MidiFile("/x/a.mid", "a.sf2", 60.0)}
    for renderings in (0, -1):
        with pytest.raises(CorpusError, match=f"renderings {renderings}: must be 1 or more"):
            add_altered(sources, ["a.sf2"], renderings=renderings, seed=0)


def test_identity_is_that_of_the_sound(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for name in ("a.mid", "b.mid", "a.sf2", "b.sf2"):
            (tmp_path / folder / name).write_text(name)

    def identity(folder="x", path="a.mid", soundfont="a.sf2", **changes):
        paths = [str(tmp_path / folder / name) for name in (path, soundfont)]
        return MidiFile(*paths, **{"duration_s": 2.0, **changes}).identity()

    assert identity() == identity("y")
    changes = ({"path": "b.mid"}, {"soundfont": "b.sf2"}, {"duration_s": 2.5}, {"semitones": 1},
               {"tempo": 1.01}, {"velocity": 0.99})  # fmt: skip
    assert len(changes) == len(dataclasses.fields(MidiFile))
    assert len({identity(), *(identity(**change) for change in changes)}) == 1 + len(changes)
    before = identity()
    os.utime(tmp_path / "x" / "a.sf2", ns=(1, 1))
    assert identity() == before
    (tmp_path / "x" / "a.sf2").write_text("changed")
    assert identity() != before
    for missing in ({"path": "no.mid"}, {"soundfont": "no.sf2"}):
        with pytest.raises(AudioError, match=rf"no\.{'mid' if 'path' in missing else 'sf2'}: "):
            identity(**missing)


def test_soundfonts_and_alterations_are_noted(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.sf2").write_text(name)
    sources = {name: MidiFile("x.mid", str(tmp_path / f"{name}.sf2"), 9.0) for name in "ab"}
    sources["a@1"] = dataclasses.replace(sources["a"], semitones=2)
    # SHA-256 of the two letters, as any other program computes it.
    assert rendering_notes(sources) == {
        "soundfont": [
            "a.sf2 (SHA-256 ca978112): 2 renderings, 1 of them altered",
            "b.sf2 (SHA-256 3e23e816): 1 renderings, 0 of them altered",
        ]
    }


@needs_fluidsynth
def test_an_altered_piece_sounds_altered(tmp_path):
    path = write_midi(tmp_path / "a.mid", [on(60), off(60, time=1920), end()])
    source = MidiFile(str(path), find_soundfonts()[0], midi_seconds(path))

    def render(**changes):
        return np.concatenate(list(dataclasses.replace(source, **changes).blocks(8000)))

    def pitch(samples):
        """The strongest frequency in the octave around the note, in Hz."""
        spectrum = np.abs(np.fft.rfft(samples[:8000]))
        return 200 + np.argmax(spectrum[200:420])

    plain, higher = render(), render(semitones=6, tempo=1.25, duration_s=source.duration_s / 1.25)
    assert len(plain) == 16_000 and len(higher) == 12_800
    assert pitch(plain) == pytest.approx(261.6, rel=0.01)
    assert pitch(higher) == pytest.approx(261.6 * 2**0.5, rel=0.01)
    softer, louder = (np.std(render(velocity=factor)) for factor in (0.7, 1.3))
    assert softer < 0.9 * np.std(plain) < 0.9 * 0.9 * louder


def test_piece_longer_than_a_day_is_refused(tmp_path):
    track = mido.MidiTrack([mido.MetaMessage("end_of_track", time=2**28 - 1)])
    mido.MidiFile(tracks=[track], ticks_per_beat=1).save(tmp_path / "a.mid")
    with pytest.raises(CorpusError, match="longer than a day"):
        midi_seconds(tmp_path / "a.mid")
