"""Files as people have them: what other programs left before, behind and between the sound."""

import os
import re
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from damff_jax import audio
from damff_jax.audio import AudioError, AudioWarning, decoder, opening
from damff_jax.audio.encoding import encode

DATA = os.environ.get("DAMFF_REAL_DATA")
RATE = 16_000


def tone(seconds=1.0, rate=RATE, pitch=220):
    return 0.4 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


# Real files --------------------------------------------------------------------------------------

# Seconds, and what is remarked.
REAL = {
    "a_one_zero_then_frames.mp3": (2.0375, None),
    "b_417_zeros_then_frames.mp3": (2.0375, None),
    "d_id3v23_then_1_zero.mp3": (2.0375, None),
    "h_tag_size_short_by_20.mp3": (2.0375, None),
    "l_apev2_first.mp3": (2.0375, None),
    "plain.mp3": (2.0375, None),
    "tag_of_20000_bytes.mp3": (2.0375, None),
    "frames_then_4k_zeros.mp3": (8.0457, None),
    "vbr_without_header.mp3": (60.0294, None),
    "sizes_zero.wav": (2.0, "no length declared, 2.0 s decoded"),
    "flac_in_ogg.ogg": (2.0, None),
}


@pytest.mark.skipif(not DATA, reason="DAMFF_REAL_DATA is not set")
@pytest.mark.parametrize("name", REAL)
def test_real_file_is_read_to_its_end(name, recwarn):
    seconds, remark = REAL[name]
    samples = audio.load(Path(DATA, "field", name), 44_100)
    assert len(samples) / 44_100 == pytest.approx(seconds, abs=0.005)
    assert np.abs(samples[-22_050:-5000]).max() > 0.01
    assert [str(w.message).split(": ", 1)[1] for w in recwarn] == ([remark] if remark else [])


# Streams -----------------------------------------------------------------------------------------


def write_streams(path, pitches, default):
    """A Matroska file with several streams of sound, one of them the default one."""
    with av.open(str(path), "w", format="matroska") as file:
        streams = [file.add_stream("flac", rate=RATE, layout="mono") for _ in pitches]
        for i, stream in enumerate(streams):
            stream.disposition = Disposition.default if i == default else Disposition(0)
        for stream, pitch in zip(streams, pitches, strict=True):
            row = (tone(pitch=pitch) * 2**15).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(row, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            to_codec = av.AudioResampler("s16", "mono", RATE, frame_size=4096)
            for part in (*to_codec.resample(frame), *to_codec.resample(None), None):
                file.mux(stream.encode(part))


@pytest.mark.parametrize("default", [0, 1, 2])
def test_of_several_streams_the_default_one_is_read(tmp_path, default):
    pitches = (200, 300, 400)
    write_streams(tmp_path / "a.mka", pitches, default)
    samples = audio.load(tmp_path / "a.mka", RATE, strict=True)
    assert np.argmax(np.abs(np.fft.rfft(samples))) == pitches[default]


def test_every_format_that_is_allowed_exists():
    """FFmpeg ignores names that it does not know."""
    names = opening._CONTAINERS.split(",")
    assert len(set(names)) == len(names)
    known = {name for known in av.formats_available for name in known.split(",")}
    assert set(names) <= known


# FLAC and GSM ------------------------------------------------------------------------------------


def crc(data, polynomial, n_bits):
    value = 0
    for byte in data:
        value ^= byte << n_bits - 8
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> n_bits - 1 else 0)
            value &= (1 << n_bits) - 1
    return value.to_bytes(n_bits // 8, "big")


def flac_of_12_bits(samples):
    """A FLAC file of 12-bit samples that are stored as they are; 192 in every frame."""
    frames, n = b"", 192
    for number, start in enumerate(range(0, len(samples), n)):
        # Block size 192, 16 kHz, mono, 12 bits.
        header = bytes([0xFF, 0xF8, 0x15, 0x04, number])
        values = "".join(f"{value & 0xFFF:012b}" for value in samples[start : start + n].tolist())
        content = header + crc(header, 0x07, 8) + b"\2" + int(values, 2).to_bytes(n * 3 // 2, "big")
        frames += content + crc(content, 0x8005, 16)
    fields = RATE << 44 | 0 << 41 | (12 - 1) << 36 | len(samples)
    info = n.to_bytes(2, "big") * 2 + bytes(6) + fields.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info + frames


def test_flac_of_12_bits_is_read(tmp_path):
    samples = np.random.default_rng(0).integers(-(2**11), 2**11, 192 * 100)
    (tmp_path / "a.flac").write_bytes(flac_of_12_bits(samples))
    decoded = audio.load(tmp_path / "a.flac", RATE, strict=True)
    np.testing.assert_array_equal(decoded, samples / 2**11)


def test_gsm_of_an_odd_number_of_bytes_is_as_long_as_it_was_written(tmp_path):
    path, n = tmp_path / "a.wav", 320 * 25
    soundfile.write(path, tone(1, 8000)[:n], 8000, subtype="GSM610")
    assert path.read_bytes().index(b"data") + 8 + 65 * 25 == path.stat().st_size - 1
    with pytest.warns(AudioWarning, match="at 8000 Hz there is no content"):
        assert len(audio.load(path, 8000, strict=True)) == n


def coded_wav(path, bytes_per_s):
    """A wav file of coded sound that states so many bytes per second."""
    soundfile.write(path, tone(3), RATE, subtype="MS_ADPCM")
    content = bytearray(path.read_bytes())
    content[28:32] = bytes_per_s.to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize("bytes_per_s", [0, 100, 8000, 10**6])
def test_wrong_bytes_per_second_of_coded_sound_are_no_reason_for_a_remark(tmp_path, bytes_per_s):
    path = tmp_path / "a.wav"
    path.write_bytes(coded_wav(path, bytes_per_s))
    assert len(audio.load(path, RATE, strict=True)) == pytest.approx(3 * RATE, abs=RATE // 10)


def test_coded_wav_that_is_cut_off_is_remarked(tmp_path):
    path = tmp_path / "a.wav"
    content = coded_wav(path, 8000)
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(AudioWarning, match="chunk 'data' of .* bytes ends behind its file"):
        assert len(audio.load(path, RATE)) == pytest.approx(1.5 * RATE, abs=RATE // 10)


def test_mov_that_is_cut_off_gives_what_is_left_and_is_remarked(tmp_path):
    path = tmp_path / "a.mov"
    encode(path, tone(3), RATE, "mov", "pcm_s16le")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(AudioWarning, match="3.0 s declared, 1.5 s decoded"):
        assert len(audio.load(path, RATE)) == pytest.approx(1.5 * RATE, abs=RATE // 20)


def test_index_of_more_samples_than_the_file_holds_is_refused(tmp_path):
    """FFmpeg would allocate gigabytes for it."""
    path = tmp_path / "a.m4a"
    encode(path, tone(1), RATE, "ipod", "aac")
    content = bytearray(path.read_bytes())
    count = content.index(b"stsz") + 12
    content[count : count + 4] = b"\x0f\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(AudioError, match="its index counts samples that do not fit into the file"):
        audio.load(path, RATE)


# MP3 ---------------------------------------------------------------------------------------------


def mp3_frames(path):
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux() if packet.size]


@pytest.mark.parametrize("n_bytes", [1, 20, 100])
def test_mp3_that_begins_in_the_middle_of_a_frame_is_read_from_the_next(tmp_path, n_bytes):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(3), RATE)
    frames = mp3_frames(path)
    path.write_bytes(b"".join(frames)[n_bytes:])
    samples = audio.load(path, RATE, strict=True)
    assert len(samples) == pytest.approx(576 * (len(frames) - 1), abs=576)


def test_mp3_behind_words_is_read(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(3), RATE)
    frames = mp3_frames(path)
    path.write_bytes(b"HTTP/1.0 200 OK\r\n\r\n" + b"".join(frames))
    samples = audio.load(path, RATE, strict=True)
    assert len(samples) == pytest.approx(576 * len(frames), abs=576)


def test_what_looks_like_two_frames_at_the_end_of_another_file_is_hardly_an_mp3(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(3), RATE)
    path.write_bytes(b"\x7fELF" + bytes(500) + b"".join(mp3_frames(path)[10:12]))
    with pytest.warns(AudioWarning, match="hardly recognised as mp3, perhaps something else"):
        assert len(audio.load(path, RATE)) == 2 * 576


@pytest.mark.parametrize(("n_bytes", "is_read"), [(300_000, True), (5_000_000, False)])
def test_what_stands_between_the_frames_of_an_mp3_is_bounded(
    tmp_path, monkeypatch, n_bytes, is_read
):
    """FFmpeg gathers it in memory."""
    monkeypatch.setattr(decoder, "_MAX_JUNK", 1_000_000)
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(3), RATE)
    frames = b"".join(mp3_frames(path))
    path.write_bytes(frames + bytes(n_bytes) + frames)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = audio.load(path, RATE)
    assert len(samples) == pytest.approx((6 if is_read else 3) * RATE, abs=RATE // 4)
    refusal = "a long stretch without sound; what follows is not read"
    assert any(refusal in str(warning.message) for warning in caught) != is_read


# Processes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_file_is_read_whichever_of_the_standard_streams_is_closed(tmp_path, closed):
    """The file's own descriptor is then one of theirs."""
    soundfile.write(tmp_path / "a.mp3", tone(1), RATE)
    script = (
        "import os, sys, warnings; warnings.simplefilter('error'); from damff_jax import audio\n"
        f"os._exit(len(audio.load('a.mp3', {RATE}, strict=True)) != {RATE})"
    )
    shell = f'exec "$0" -c "$1" {closed}'
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = ["sh", "-c", shell, sys.executable, script]
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 0


DAMAGED = {
    "mp3": ("mp3", "libmp3lame"),
    "flac": ("flac", "flac"),
    "m4a": ("ipod", "aac"),
    "wma": ("asf", "wmav2"),
    "webm": ("webm", "libopus"),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("place", [0.1, 0.5])
def test_what_ffmpeg_notes_of_damage_is_not_printed(tmp_path, capfd, name, place):
    path = tmp_path / f"a.{name}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE)
    encode(path, noise, RATE, *DAMAGED[name])
    content = bytearray(path.read_bytes())
    start = int(place * len(content))
    content[start : start + 3000] = np.random.default_rng(1).bytes(3000)
    path.write_bytes(content)
    with pytest.warns(AudioWarning):
        audio.load(path, RATE)
    assert capfd.readouterr() == ("", "")


def test_rate_of_a_file_is_its_own(tmp_path):
    for rate in (8000, 44_100, 96_000):
        soundfile.write(tmp_path / "a.flac", tone(0.1, rate), rate)
        assert audio.sample_rate(tmp_path / "a.flac") == rate


# Folders -----------------------------------------------------------------------------------------


def test_every_extension_of_common_sound_is_searched_for():
    common = (
        *(".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".mp4", ".opus", ".wma", ".aiff"),
        *(".aif", ".webm", ".mka", ".mkv", ".wv", ".ape", ".ac3", ".caf", ".au"),
    )
    assert set(common) <= set(audio.EXTENSIONS)
    assert len(set(audio.EXTENSIONS)) == len(audio.EXTENSIONS)


def test_the_documentation_lists_what_folders_are_searched_for():
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    section = page.split("\n## Folders\n")[1].split("\n## ")[0]
    listed = [name for line in section.splitlines() if line[:5] == "    ." for name in line.split()]
    assert listed == list(audio.EXTENSIONS)
    named = set(re.findall(r"`(\.\w+)`", page.split("\n## What is promised\n")[0]))
    assert named <= set(audio.EXTENSIONS)
