"""Audio files: what is read, what is refused, and what is remarked."""

import os
import re
import struct
import tracemalloc
import warnings

import av
import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax import audio
from damff_jax.audio import AudioError, AudioWarning, decoding, mono
from damff_jax.audio.encoding import encode

RATE = 16_000
# Where a canonical 44-byte wav header holds the sample rate and the size of the data.
RATE_FIELD, DATA_SIZE_FIELD = slice(24, 28), slice(40, 44)


def tones(seconds=1.0, rate=RATE, channels=1):
    """Samples of another tone in every channel: float64 (n,) or (n, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    pitches = 220.0 * (1 + np.arange(channels))
    samples = 0.4 * np.sin(2 * np.pi * pitches * time[:, None])
    return samples[:, 0] if channels == 1 else samples


def write(path, samples=None, rate=RATE, **kwargs):
    soundfile.write(path, tones() if samples is None else samples, rate, **kwargs)
    return path


def with_bytes(path, new_bytes):
    path.write_bytes(new_bytes)
    return path


def truncated(path, share):
    content = path.read_bytes()
    return with_bytes(path, content[: int(share * len(content))])


# Reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 1 / 128),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 2**-24),
        ("FLOAT", 2**-24),
        ("DOUBLE", 2**-24),
        ("ULAW", 0.02),
    ],
)
def test_wav_of_any_subtype_gives_the_samples_written(tmp_path, subtype, tolerance):
    path = write(tmp_path / "a.wav", subtype=subtype)
    samples = audio.load(path, RATE)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, tones(), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("extension", "error"), [("flac", 2**-15), ("ogg", 0.02), ("mp3", 0.03)])
def test_other_formats_give_the_samples_written(tmp_path, extension, error):
    samples = audio.load(write(tmp_path / f"a.{extension}"), RATE)
    # FFmpeg leaves out the end of the last block of a Vorbis stream of a single page.
    assert len(samples) == pytest.approx(RATE, abs=512 if extension == "ogg" else 0)
    # The ends of lossy formats ring.
    np.testing.assert_allclose(
        samples[800:-800], tones()[: len(samples)][800:-800], rtol=0, atol=error
    )


SAME_AS_SOUNDFILE = [
    *[("WAV", x) for x in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")],
    *[("WAV", x) for x in ("ULAW", "ALAW", "IMA_ADPCM")],
    *[("FLAC", x) for x in ("PCM_S8", "PCM_16", "PCM_24")],
    *[
        ("RF64", "PCM_24"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_24"),
        ("AU", "FLOAT"),
        ("CAF", "PCM_16"),
    ],
]


@pytest.mark.parametrize(("container", "subtype"), SAME_AS_SOUNDFILE)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_samples_are_bit_for_bit_those_of_soundfile(tmp_path, container, subtype, channels):
    if subtype == "IMA_ADPCM":
        channels = 1
    noise = np.random.default_rng(0).uniform(-1, 1, (RATE // 2, channels))
    path = write(tmp_path / "a", noise, format=container, subtype=subtype)
    expected_NxC = soundfile.read(path, dtype="float32", always_2d=True)[0]
    expected = expected_NxC.mean(axis=1, dtype=np.float32)
    assert audio.load(path, RATE).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("extension", "error"), [("mp3", 1e-5), ("ogg", 1e-5)])
def test_samples_of_lossy_formats_are_those_of_soundfile(tmp_path, extension, error):
    path = write(tmp_path / f"a.{extension}", tones(3, channels=2))
    expected = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    np.testing.assert_allclose(audio.load(path, RATE), expected, rtol=0, atol=error)


# FFmpeg's names of container and codec, the sample rate, and the samples more or less than written.
ENCODED = {
    "m4a": ("ipod", "aac", 44_100, 1024),
    "aac": ("adts", "aac", 44_100, 2048),
    "mp4": ("mp4", "aac", 48_000, 1024),
    "lossless.m4a": ("ipod", "alac", 44_100, 0),
    "opus": ("ogg", "libopus", 48_000, 0),
    "webm": ("webm", "libopus", 48_000, 0),
    "wma": ("asf", "wmav2", 44_100, 2048),
    "mkv": ("matroska", "flac", 44_100, 0),
    "flac.ogg": ("ogg", "flac", 44_100, 0),
    "aiff": ("aiff", "pcm_s16be", 44_100, 0),
    "caf": ("caf", "pcm_s24le", 44_100, 0),
    "ac3": ("ac3", "ac3", 48_000, 1536),
    "wv": ("wv", "wavpack", 44_100, 0),
    "mov": ("mov", "pcm_s16le", 44_100, 0),
    "ts": ("mpegts", "aac", 48_000, 2048),
    "avi": ("avi", "libmp3lame", 44_100, 2304),
    "mp2": ("mp2", "mp2", 44_100, 1152),
}


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("channels", [1, 2])
def test_whole_file_of_any_format_is_read_without_remark(tmp_path, name, channels):
    container, codec, rate, slack = ENCODED[name]
    written = tones(2.0, rate, channels)
    path = tmp_path / f"a.{name}"
    encode(path, written, rate, container, codec)
    samples = audio.load(path, rate, strict=True)
    assert abs(len(samples) - 2 * rate) <= slack
    assert path.suffix in audio.EXTENSIONS
    # The loudest bin tells the pitch, whatever delay the encoder added.
    spectrum = np.abs(np.fft.rfft(samples[rate // 2 :][:rate]))
    assert np.argmax(spectrum) == pytest.approx(220, abs=1) or channels == 2
    np.testing.assert_allclose(
        samples.std(), written.mean(axis=-1).std() if channels == 2 else written.std(), rtol=0.1
    )


def test_amr_is_read(tmp_path):
    path = tmp_path / "a.amr"
    encode(path, tones(1, 8000), 8000, "amr", "libopencore_amrnb")
    assert len(load_remarked(path)[0]) == pytest.approx(RATE, abs=RATE // 20)


def test_sound_of_a_video_is_read(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        pictures, sound = file.add_stream("mpeg4", rate=10), file.add_stream("aac", rate=44_100)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        for i in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * i, np.uint8))
            file.mux(pictures.encode(picture))
        frame = av.AudioFrame.from_ndarray(np.float32(tones(1, 44_100))[None], "fltp", "mono")
        frame.sample_rate = 44_100
        for part in av.AudioResampler("fltp", sound.layout, 44_100, 1024).resample(frame):
            file.mux(sound.encode(part))
        for stream in (pictures, sound):
            file.mux(stream.encode(None))
    assert len(audio.load(path, 44_100, strict=True)) == pytest.approx(44_100, abs=2048)


def test_cover_picture_of_an_mp3_is_no_video(tmp_path):
    content = write(tmp_path / "a.mp3").read_bytes()
    picture = b"\x00image/png\x00\x03\x00\x89PNG\r\n\x1a\n" + bytes(20_000)
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path = with_bytes(tmp_path / "a.mp3", b"ID3\3\0\0" + size + frame + content)
    assert len(audio.load(path, RATE, strict=True)) == RATE


def test_format_is_told_by_content_not_by_name(tmp_path):
    path = write(tmp_path / "a.wav", format="MP3")
    np.testing.assert_array_equal(
        audio.load(path, RATE), audio.load(path.rename(tmp_path / "a.mp3"), RATE)
    )


def test_channels_are_averaged(tmp_path):
    samples = tones(channels=6)
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(path, RATE), samples.mean(axis=1), rtol=0, atol=1e-7)


def test_names_with_spaces_unicode_and_foreign_bytes_are_read(tmp_path):
    content = write(tmp_path / "a.wav").read_bytes()
    for name in (b"a b.wav", "ééé 歌.wav".encode(), b"\xff\xfe.wav", b"x" * 250 + b".wav"):
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, "wb") as file:
            file.write(content)
        assert len(audio.load(os.fsdecode(path), RATE)) == RATE


def test_wav_that_its_recorder_did_not_close_is_read_to_the_end_with_a_remark(tmp_path):
    content = bytearray(write(tmp_path / "a.wav").read_bytes())
    content[4:8] = content[DATA_SIZE_FIELD] = bytes(4)
    samples, remark = load_remarked(with_bytes(tmp_path / "a.wav", content))
    np.testing.assert_allclose(samples, tones(), rtol=0, atol=2**-15)
    assert remark.endswith("no length declared, 1.0 s decoded")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_wav_written_to_a_pipe_without_its_size_is_read_in_silence(tmp_path, size):
    content = bytearray(write(tmp_path / "a.wav").read_bytes())
    content[4:8] = struct.pack("<I", size)
    content[DATA_SIZE_FIELD] = struct.pack("<I", size)
    path = with_bytes(tmp_path / "a.wav", content)
    assert len(audio.load(path, RATE, strict=True)) == RATE


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_blocks_together_are_the_whole_file(tmp_path, monkeypatch, extension):
    path = write(tmp_path / f"a.{extension}", tones(3.3, channels=2))
    monkeypatch.setattr(decoding, "BLOCK_SECONDS", 1)
    blocks = list(audio.stream(path, RATE))
    whole = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    assert len(blocks) == 4
    np.testing.assert_allclose(np.concatenate(blocks), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("extension", ["wav", "flac"])
@pytest.mark.parametrize(("rate", "new_rate"), [(48_000, 44_100), (16_000, 44_100), (44_100, 8000)])
def test_resampling_equals_librosa(tmp_path, monkeypatch, extension, rate, new_rate):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (int(2.7 * rate), 2))
    path = write(tmp_path / f"a.{extension}", noise, rate)
    monkeypatch.setattr(decoding, "BLOCK_SECONDS", 1)
    samples = audio.load(path, new_rate)
    stereo, _ = soundfile.read(path, dtype="float32")
    expected = librosa.resample(
        librosa.to_mono(stereo.T), orig_sr=rate, target_sr=new_rate, res_type="soxr_hq"
    )
    assert abs(len(samples) - len(expected)) <= 1
    n = min(len(samples), len(expected))
    np.testing.assert_allclose(samples[:n], expected[:n], rtol=0, atol=1e-6)


def test_memory_does_not_grow_with_the_length_of_the_file(tmp_path):
    def peak(seconds):
        path = write(tmp_path / "a.wav", np.zeros((seconds * RATE, 2), np.int16))
        tracemalloc.start()
        for _ in audio.stream(path, 22_050):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(240) < 1.1 * peak(40)


@pytest.mark.parametrize("rate", [16_000, 22_050, 96_000, 192_000])
def test_high_sample_rates_are_read_without_remark(tmp_path, rate):
    path = write(tmp_path / "a.wav", tones(0.5, rate), rate)
    assert len(audio.load(path, RATE)) == pytest.approx(RATE / 2, abs=1)


# Refusing ----------------------------------------------------------------------------------------


def wav_with_rate(path, rate):
    content = bytearray(write(path).read_bytes())
    content[RATE_FIELD] = struct.pack("<I", rate)
    return with_bytes(path, content)


def symlink_loop(path):
    path.symlink_to(path)
    return path


def fifo(path):
    os.mkfifo(path)
    return path


REFUSED = {
    "missing": (lambda path: path, "No such file or directory"),
    "directory": (lambda path: path.parent, "not a regular file"),
    "fifo": (fifo, "not a regular file"),
    "symlink loop": (symlink_loop, "Too many levels of symbolic links"),
    "empty": (lambda path: with_bytes(path, b""), "the file is empty"),
    "random": (
        lambda path: with_bytes(path, np.random.default_rng(0).bytes(5000)),
        "not readable as audio",
    ),
    "text": (
        lambda path: with_bytes(path, b"these are words\n" * 100),
        "not readable as audio (Invalid data found when processing input)",
    ),
    "playlist": (
        lambda path: with_bytes(path, b"#EXTM3U\n#EXTINF:1,a\n/etc/passwd\n#EXT-X-ENDLIST\n"),
        "not readable as audio",
    ),
    "m4a": (
        lambda path: with_bytes(path, b"\0\0\0\x20ftypM4A \0\0\0\0" + b"\0" * 500),
        "not readable as audio",
    ),
    "half a header": (
        lambda path: with_bytes(path, write(path).read_bytes()[:30]),
        "not readable as audio",
    ),
    "header only": (
        lambda path: with_bytes(path, write(path).read_bytes()[:44]),
        "no audio in the file",
    ),
    "no samples": (lambda path: write(path, np.zeros(0)), "no audio in the file"),
    "rate 0": (lambda path: wav_with_rate(path, 0), "not readable as audio"),
    "rate 4 kHz": (
        lambda path: write(path, rate=4000),
        "sample rate of 4000 Hz is outside 8-192 kHz",
    ),
    "rate 2 GHz": (
        lambda path: wav_with_rate(path, 2_000_000_000),
        "sample rate of 2000000000 Hz is outside 8-192 kHz",
    ),
}


@pytest.mark.parametrize("make, reason", REFUSED.values(), ids=REFUSED)
def test_unusable_file_is_refused_in_one_line_that_names_it(tmp_path, make, reason):
    path = make(tmp_path / "a.wav")
    with pytest.raises(AudioError) as caught:
        audio.load(path, RATE)
    message = str(caught.value)
    assert message.startswith(f"{path}: {reason}") and "\n" not in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_refused(tmp_path):
    path = write(tmp_path / "a.wav")
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        audio.load(path, RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sample_that_is_not_finite_is_refused_with_the_first_bad_time(tmp_path, bad):
    samples = tones(25, channels=2)
    samples[[20 * RATE + 16, 22 * RATE], 1] = bad
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(AudioError) as caught:
        audio.load(path, RATE)
    assert str(caught.value) == f"{path}: a sample is not finite, first at 20.001 s"


def test_refused_files_leave_no_descriptor_open(tmp_path):
    path = with_bytes(tmp_path / "a.mp3", b"words" * 100)
    before = os.listdir("/dev/fd")
    for _ in range(3):
        with pytest.raises(AudioError):
            audio.load(path, RATE)
    assert len(os.listdir("/dev/fd")) == len(before)


# Folders -----------------------------------------------------------------------------------------


def test_folders_are_searched_by_extension_in_any_case_and_sorted(tmp_path):
    names = ["b.MP3", "a.flac", "c/d.Opus", "c/e.m4a", ".hidden.wav", "notes.txt", "cover.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(path, tmp_path) for path in audio.find(tmp_path)]
    assert found == ["a.flac", "b.MP3", "c/d.Opus", "c/e.m4a"]


def test_linked_folders_are_followed_once_and_loops_end(tmp_path):
    music, elsewhere = tmp_path / "music", tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    music.mkdir()
    (elsewhere / "deep" / "a.wav").touch()
    (music / "linked").symlink_to(elsewhere)
    (music / "linked again").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(music)
    assert list(audio.find(music)) == [str(music / "linked" / "deep" / "a.wav")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.warns(AudioWarning, match=r"closed: folder left out \(Permission denied\)"):
        assert list(audio.find(tmp_path)) == [str(tmp_path / "a.wav")]


def test_folder_that_is_gone_is_named(tmp_path):
    with pytest.warns(AudioWarning, match=r"gone: folder left out \(No such file or directory\)"):
        assert not list(audio.find(tmp_path / "gone"))


def test_every_file_of_sound_of_another_kind_is_named(tmp_path):
    for name in ("a.mid", "b.MID", "c.mid", "d.wav"):
        (tmp_path / name).touch()
    with pytest.warns(AudioWarning) as caught:
        assert list(audio.find(tmp_path)) == [str(tmp_path / "d.wav")]
    assert [str(warning.message) for warning in caught] == [
        f"{tmp_path / name}: left out, because .mid is not read as audio"
        for name in ("a.mid", "b.MID", "c.mid")
    ]


# Remarking ---------------------------------------------------------------------------------------


def load_remarked(path):
    """Samples and the one warning's text."""
    with pytest.warns(AudioWarning) as caught:
        samples = audio.load(path, RATE)
    (warning,) = caught
    return samples, str(warning.message)


def test_low_sample_rate_is_remarked(tmp_path):
    path = write(tmp_path / "a.wav", tones(1, 8000), 8000)
    samples, remark = load_remarked(path)
    assert len(samples) == RATE
    assert remark == f"{path}: at 8000 Hz there is no content above 4000 Hz"


def test_samples_beyond_the_limit_are_limited_and_remarked(tmp_path):
    samples = np.array([0.5, 1.9, -1.9, 2.1, -19.0, 0.1])
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    limited, remark = load_remarked(path)
    np.testing.assert_allclose(limited, [0.5, 1.9, -1.9, 2, -2, 0.1], rtol=1e-7)
    assert remark == f"{path}: 2 samples beyond 2 times full scale were limited"


TRUNCATED = [("wav", "PCM_16"), ("wav", "ULAW"), ("wav", "PCM_24"), ("flac", None), ("mp3", None)]


@pytest.mark.parametrize(("extension", "subtype"), TRUNCATED)
def test_truncated_file_gives_what_is_left_and_names_both_lengths(tmp_path, extension, subtype):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE)
    path = write(tmp_path / f"a.{extension}", noise, subtype=subtype)
    whole = audio.load(path, RATE)
    samples, remark = load_remarked(truncated(path, 0.6))
    # A coded frame is at most 0.3 s long here.
    assert 12 * 0.6 - 0.4 < len(samples) / RATE < 12 * 0.6 + 0.4
    np.testing.assert_array_equal(samples[:-RATE], whole[: len(samples) - RATE])
    assert remark.startswith(f"{path}: 12.0 s declared, {len(samples) / RATE:.1f} s decoded")


@pytest.mark.parametrize(("extension", "subtype"), [*TRUNCATED, ("ogg", "VORBIS"), ("ogg", "OPUS")])
def test_truncated_file_is_refused_if_strict(tmp_path, extension, subtype):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE)
    path = write(tmp_path / f"a.{extension}", noise, subtype=subtype)
    assert len(audio.load(path, RATE, strict=True)) == 12 * RATE
    with pytest.raises(AudioError, match=r"declared, \d+\.\d s decoded"):
        audio.load(truncated(path, 0.6), RATE, strict=True)


@pytest.mark.parametrize("container", ["RF64", "W64", "AIFF", "AU"])
def test_truncated_file_of_a_rarer_container_is_remarked(tmp_path, container):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE)
    path = write(tmp_path / "a.wav", noise, format=container, subtype="PCM_16")
    assert len(audio.load(path, RATE, strict=True)) == 12 * RATE
    samples, remark = load_remarked(truncated(path, 0.6))
    assert len(samples) / RATE == pytest.approx(12 * 0.6, abs=0.01)
    # FFmpeg does not give the length that a W64 file declares, but knows that it is cut off.
    wanted = "the file is cut off" if container == "W64" else "12.0 s declared, 7.2 s decoded"
    assert remark == f"{path}: {wanted}"
    with pytest.raises(AudioError, match=wanted):
        audio.load(path, RATE, strict=True)


def test_wav_that_lacks_two_bytes_is_remarked(tmp_path):
    path = write(tmp_path / "a.wav")
    _, remark = load_remarked(with_bytes(path, path.read_bytes()[:-2]))
    assert "declared" in remark


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_with_a_page_missing_is_remarked(tmp_path, subtype):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE)
    path = write(tmp_path / "a.ogg", noise, subtype=subtype)
    pages = path.read_bytes().split(b"OggS")
    _, remark = load_remarked(with_bytes(path, b"OggS".join(pages[:4] + pages[5:])))
    assert re.search("s of sound are missing|declared, ", remark)


@pytest.mark.parametrize("field", [22, 28, 32])
def test_wav_whose_header_contradicts_itself_is_remarked(tmp_path, field):
    content = bytearray(write(tmp_path / "a.wav").read_bytes())
    content[field] ^= 2
    _, remark = load_remarked(with_bytes(tmp_path / "a.wav", content))
    assert "its header contradicts itself: " in remark


def test_wav_with_sound_behind_the_declared_end_is_remarked(tmp_path):
    content = bytearray(write(tmp_path / "a.wav").read_bytes())
    path = with_bytes(tmp_path / "a.wav", content + b"TAG" + bytes(125))
    assert len(audio.load(path, RATE, strict=True)) == RATE
    content[DATA_SIZE_FIELD] = struct.pack("<I", RATE - 30)
    samples, remark = load_remarked(with_bytes(path, content))
    assert len(samples) == RATE // 2 - 15
    assert "there is no chunk" in remark


def test_wav_whose_chunks_belie_each_other_is_remarked(tmp_path):
    path = tmp_path / "a.wav"
    content = write(path, subtype="FLOAT").read_bytes()
    size, fact, form = content.index(b"data") + 4, content.index(b"fact") + 8, 20
    for place, value, remark in (
        (size, 0xFFFFFFFF, f"{RATE} frames, and 1073741823 of data"),
        (fact, RATE + 9, f"{RATE + 9} frames, and {RATE} of data"),
        (form, 0x10001, "peaks of floats, and samples that are none"),
    ):
        changed = bytearray(content)
        changed[place : place + 4] = struct.pack("<I", value)
        assert remark in load_remarked(with_bytes(path, changed))[1]


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"])
@pytest.mark.parametrize("more", [b"", b"LIST\4\0\0\0INFO", bytes(1000)])
def test_whole_wav_is_read_in_silence(tmp_path, subtype, more):
    """Other chunks and padding behind the sound, counted by the file's size or not, are no harm."""
    path = tmp_path / "a.wav"
    content = bytearray(write(path, subtype=subtype).read_bytes())
    assert len(audio.load(with_bytes(path, content + more), RATE, strict=True)) >= RATE
    content[4:8] = struct.pack("<I", len(content) + len(more) - 8)
    assert len(audio.load(with_bytes(path, content + more), RATE, strict=True)) >= RATE


def mp3_frames(path):
    """The frames of an mp3 file as they lie in it, the first one, which counts the others, too."""
    with av.open(str(path)) as file:
        frames = [bytes(packet) for packet in file.demux() if packet.size]
    content = path.read_bytes()
    return [content[: content.index(frames[0])], *frames]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda frames: frames[:20] + frames[25:], r"declared"),
        (
            lambda frames: [*frames[1:20], b"noise" * 9, *frames[20:]],
            r"at 0\.\d s \(Header missing\)",
        ),
        (lambda frames: [*frames[1:20], frames[20][9:], *frames[21:]], r"\(Header missing\)"),
        (lambda frames: frames + frames[1:], r"\d+ frames declared, \d+ found"),
    ],
)
def test_mp3_whose_frames_do_not_follow_each_other_is_remarked(tmp_path, spoil, reason):
    path = write(tmp_path / "a.mp3", tones(3))
    content = b"".join(spoil(mp3_frames(path)))
    _, remark = load_remarked(with_bytes(path, content))
    assert re.search(reason, remark)


_APE = b"APETAGEX\xd0\7\0\0" + (2032).to_bytes(4, "little") + bytes(16)
BEFORE_MP3 = {
    "a zero": bytes(1),
    "zeros": bytes(417),
    "tag": b"ID3\4\0\0\0\0\1\0" + bytes(128),
    "tag and a zero": b"ID3\4\0\0\0\0\1\0" + bytes(129),
    "tag of a wrong size": b"ID3\4\0\0\0\0\1\0" + bytes(148),
    "two tags": 2 * (b"ID3\4\0\0\0\0\1\0" + bytes(128)),
    "a large tag": b"ID3\4\0\0\0\1\x1c\x20" + bytes(20_000),
    "ape": _APE,
}
BEHIND_MP3 = {
    "tag": b"TAG" + b"\xff" * 125,
    "zeros": bytes(4096),
    "lyrics": b"LYRICSBEGIN" + b"words and words " * 200 + b"000003LYRICS200",
    "html": b"<html>hello</html>" * 100,
    "ape": _APE + bytes(2000) + _APE,
}


@pytest.mark.parametrize("before", BEFORE_MP3)
@pytest.mark.parametrize("behind", BEHIND_MP3)
@pytest.mark.parametrize("declares", [True, False])
def test_mp3_among_what_is_no_frame_is_read_without_remark(tmp_path, before, behind, declares):
    frames = mp3_frames(write(tmp_path / "a.mp3"))[not declares :]
    content = BEFORE_MP3[before] + b"".join(frames) + BEHIND_MP3[behind]
    path = with_bytes(tmp_path / "a.mp3", content)
    assert len(audio.load(path, RATE, strict=True)) == pytest.approx(RATE, abs=4 * 576)


@pytest.mark.parametrize("seconds", [1, 50])
def test_mp3_that_declares_no_length_gets_no_remark(tmp_path, seconds):
    path = tmp_path / "a.mp3"
    sound = tones(seconds)
    sound[: len(sound) // 2] = 0  # FFmpeg's estimate, by the first frames, is far off.
    frames = mp3_frames(write(path, sound, bitrate_mode="VARIABLE"))[1:]
    samples = audio.load(with_bytes(path, b"".join(frames)), RATE, strict=True)
    assert len(samples) == pytest.approx(seconds * RATE, abs=4 * 576)


def test_frames_that_cannot_be_decoded_are_silence_and_what_follows_keeps_its_time(tmp_path):
    path = write(tmp_path / "a.mp3", tones(4.0))
    whole = audio.load(path, RATE)
    frames = mp3_frames(path)
    rng = np.random.default_rng(0)
    frames[20:40] = [frame[:4] + rng.bytes(len(frame) - 4) for frame in frames[20:40]]
    with pytest.warns(AudioWarning, match="declared|damaged"):
        samples = audio.load(with_bytes(path, b"".join(frames)), RATE)
    assert len(samples) == 4 * RATE
    np.testing.assert_allclose(samples[-RATE:], whole[-RATE:], rtol=0, atol=1e-4)


def test_blocks_of_hundreds_of_channels_are_converted_bit_by_bit(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE // 10, 500))
    path = write(tmp_path / "a.wav", noise, subtype="PCM_U8")
    whole = audio.load(path, RATE)
    monkeypatch.setattr(mono, "_CHUNK_SAMPLES", 2**11)
    np.testing.assert_array_equal(audio.load(path, RATE), whole)
    np.testing.assert_allclose(whole, noise.mean(axis=1), rtol=0, atol=0.01)


def test_more_channels_than_ffmpeg_decodes_are_refused(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros((RATE, 1000)), subtype="PCM_U8")
    with pytest.raises(AudioError, match="no audio in the file that can be decoded"):
        audio.load(path, RATE)


def test_planes_of_many_channels_are_averaged(tmp_path):
    sound = tones(0.5, 48_000, channels=16)
    path = tmp_path / "a.mka"
    encode(path, sound, 48_000, "matroska", "wavpack")
    np.testing.assert_allclose(audio.load(path, 48_000), sound.mean(axis=1), rtol=0, atol=0.01)


def test_truncated_ogg_gives_what_is_left_and_is_remarked(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE)
    path = write(tmp_path / "a.ogg", noise)
    samples, remark = load_remarked(truncated(path, 0.6))
    assert 5 < len(samples) / RATE < 8
    assert "the ogg stream has no end" in remark


def test_what_follows_damage_inside_a_flac_file_keeps_its_time(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE)
    path = write(tmp_path / "a.flac", noise)
    whole = audio.load(path, RATE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20_000] = b"\0" * 20_000
    samples, remark = load_remarked(with_bytes(path, content))
    assert len(samples) == 12 * RATE
    np.testing.assert_array_equal(samples[: 5 * RATE], whole[: 5 * RATE])
    np.testing.assert_array_equal(samples[-4 * RATE :], whole[-4 * RATE :])
    assert "damaged, first at " in remark


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\1\0" + bytes(128)])
def test_whole_flac_file_is_as_its_header_says(tmp_path, subtype, tag):
    noise = np.random.default_rng(0).uniform(-1, 1, (3 * RATE, 2))
    path = write(tmp_path / "a.flac", noise, subtype=subtype)
    with_bytes(path, tag + path.read_bytes())
    assert len(audio.load(path, RATE, strict=True)) == 3 * RATE


FLAC_HEADERS = [
    # Offset, value, and what is said.
    (18, 0x05, "its header says [0-9]+ Hz, its sound [0-9]+ Hz"),  # The rate's first byte.
    (25, 0x00, r"2\.9920 s declared, 3\.0000 s decoded"),  # The length's last byte.
    (30, 0x00, "its samples are not those that were encoded"),  # A byte of the MD5.
]


@pytest.mark.parametrize(("offset", "value", "remark"), FLAC_HEADERS)
def test_flac_whose_header_belies_its_sound_is_remarked(tmp_path, offset, value, remark):
    path = write(tmp_path / "a.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE))
    content = bytearray(path.read_bytes())
    assert content[offset] != value
    content[offset] = value
    assert re.search(remark, load_remarked(with_bytes(path, content))[1])


def test_flac_without_an_md5_is_read(tmp_path):
    path = write(tmp_path / "a.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE))
    content = bytearray(path.read_bytes())
    content[26:42] = bytes(16)
    assert len(audio.load(with_bytes(path, content), RATE, strict=True)) == 3 * RATE


def test_mp3_files_one_behind_the_other_are_read_to_the_end(tmp_path):
    content = write(tmp_path / "a.mp3", tones(5)).read_bytes()
    samples, remark = load_remarked(with_bytes(tmp_path / "a.mp3", content + content))
    assert "frames declared" in remark and len(samples) > 10 * RATE


def test_tag_between_the_frames_of_an_mp3_is_no_damage(tmp_path):
    """As in files put one behind the other; without their first frames, which count the others."""
    frames = mp3_frames(write(tmp_path / "a.mp3"))[1:]
    tag = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    path = with_bytes(tmp_path / "a.mp3", b"".join([tag, *frames, tag, *frames]))
    assert len(audio.load(path, RATE, strict=True)) > 2 * RATE


FUZZED = {
    **{name: None for name in ("wav", "flac", "ogg", "mp3", "aiff")},
    **{name: ENCODED[name] for name in ("m4a", "opus", "wma", "webm")},
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Bytes of a short file by format, and a path to write others to."""
    folder = tmp_path_factory.mktemp("fuzz")
    contents = {}
    for name, way in FUZZED.items():
        path = folder / f"a.{name}"
        if way:
            container, codec, rate, _ = way
            encode(path, tones(0.7, rate, channels=2), rate, container, codec)
        else:
            write(path, tones(0.7, channels=2))
        contents[name] = path.read_bytes()
    return contents, folder / "mutated"


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(list(FUZZED)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.binary(min_size=1, max_size=4))),
    share=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_mutated_files_are_read_or_refused(encoded, name, changes, share):
    contents, path = encoded
    content = bytearray(contents[name])
    for place, in_header, new_bytes in changes:
        start = int(place * (100 if in_header else len(content)))
        content[start : start + len(new_bytes)] = new_bytes
    path.write_bytes(content[: int(share * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        try:
            samples = audio.load(path, RATE)
        except AudioError as error:
            message = str(error)
            assert message.startswith(f"{path}: ") and "\n" not in message
        else:
            assert np.isfinite(samples).all()
