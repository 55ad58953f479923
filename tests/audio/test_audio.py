"""Audio files: what is read, what is refused, and what is remarked."""

import itertools
import os
import re
import struct
import tracemalloc
import warnings

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax import audio
from damff_jax.audio import AudioError, AudioWarning, decoder_log, decoding, mp3

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
    assert len(samples) == RATE
    # The ends of lossy formats ring.
    np.testing.assert_allclose(samples[800:-800], tones()[800:-800], rtol=0, atol=error)


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


NOT_AUDIO = "not readable as audio (wav, flac, ogg, mp3 are)"
REFUSED = {
    "missing": (lambda path: path, "No such file or directory"),
    "directory": (lambda path: path.parent, "not a regular file"),
    "fifo": (fifo, "not a regular file"),
    "symlink loop": (symlink_loop, "Too many levels of symbolic links"),
    "empty": (lambda path: with_bytes(path, b""), "the file is empty"),
    "random": (
        lambda path: with_bytes(path, np.random.default_rng(0).bytes(5000)),
        NOT_AUDIO,
    ),
    "text": (lambda path: with_bytes(path, b"these are words\n" * 100), NOT_AUDIO),
    "m4a": (
        lambda path: with_bytes(path, b"\0\0\0\x20ftypM4A \0\0\0\0" + b"\0" * 500),
        NOT_AUDIO,
    ),
    "half a header": (
        lambda path: with_bytes(path, write(path).read_bytes()[:30]),
        NOT_AUDIO,
    ),
    "header only": (
        lambda path: with_bytes(path, write(path).read_bytes()[:44]),
        "no audio in the file",
    ),
    "no samples": (lambda path: write(path, np.zeros(0)), "no audio in the file"),
    "rate 0": (lambda path: wav_with_rate(path, 0), NOT_AUDIO),
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
    assert str(caught.value) == f"{path}: {reason}"


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
    assert remark == f"{path}: 12.0 s declared, 7.2 s decoded"
    with pytest.raises(AudioError, match=r"12\.0 s declared, 7\.2 s decoded"):
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
    assert "the ogg stream has holes" in remark


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
        (size, 0xFFFFFFFF, "chunk 'data' of 4294967295 bytes ends behind its file"),
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
    content = path.read_bytes()
    starts, place = [], 0
    while place < len(content):
        starts.append(place)
        place += mp3._frame(content[place : place + 4])[0]
    assert place == len(content)
    return [content[a:b] for a, b in itertools.pairwise([*starts, place])]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda frames: frames[:20] + frames[25:], r"declared|\d+ frames declared, \d+ found"),
        (
            lambda frames: [*frames[1:20], b"noise" * 9, *frames[20:]],
            "damage between its frames, in 1 place",
        ),
        (
            lambda frames: [*frames[1:20], frames[20][9:], *frames[21:]],
            "damage between its frames, in 1 place",
        ),
        (lambda frames: [*frames[1:-1], frames[-1][:-9]], "its last frame is cut off"),
    ],
)
def test_mp3_whose_frames_do_not_follow_each_other_is_remarked(tmp_path, spoil, reason):
    path = write(tmp_path / "a.mp3", tones(3))
    content = b"".join(spoil(mp3_frames(path)))
    _, remark = load_remarked(with_bytes(path, content))
    assert re.search(reason, remark)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_of_a_whole_mp3_are_found(tmp_path, rate, mode, channels):
    path = write(tmp_path / "a.mp3", tones(1.5, rate, channels), rate, bitrate_mode=mode)
    tagged = b"ID3\4\0\0\0\0\1\0" + bytes(128) + path.read_bytes() + b"TAG" + b"\xff" * 125
    with open(with_bytes(path, tagged)) as file:
        assert mp3.damage(file.fileno(), round(1.5 * rate)) == ""
        assert "decoded" in mp3.damage(file.fileno(), rate)


def test_memory_does_not_grow_with_the_number_of_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_BLOCK_SAMPLES", 2**12)
    path = write(tmp_path / "a.wav", np.zeros((RATE // 10, 1000)), subtype="PCM_U8")
    blocks = list(audio.stream(path, RATE))
    assert max(map(len, blocks)) == 4 and sum(map(len, blocks)) == RATE // 10


def test_truncated_ogg_gives_what_is_left_and_is_remarked(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE)
    path = write(tmp_path / "a.ogg", noise)
    samples, remark = load_remarked(truncated(path, 0.6))
    assert 5 < len(samples) / RATE < 8
    assert "the ogg stream has no end" in remark


def test_damage_inside_a_flac_file_keeps_the_part_before_it(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE)
    path = write(tmp_path / "a.flac", noise)
    whole = audio.load(path, RATE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20_000] = b"\0" * 20_000
    samples, remark = load_remarked(with_bytes(path, content))
    assert 5 < len(samples) / RATE < 6.1
    np.testing.assert_array_equal(samples, whole[: len(samples)])
    assert "12.0 s declared" in remark


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
    (25, 0x00, "its samples are not those that were encoded"),  # The length's last byte.
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


def test_mp3_that_goes_on_behind_its_declared_end_is_remarked(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE)
    content = write(tmp_path / "a.mp3", noise).read_bytes()
    _, remark = load_remarked(with_bytes(tmp_path / "a.mp3", content + content))
    assert "audio goes on behind the declared end at 5.0 s" in remark


def test_tag_between_the_frames_of_an_mp3_is_no_damage(tmp_path):
    """As in files put one behind the other; without their first frames, which count the others."""
    frames = mp3_frames(write(tmp_path / "a.mp3"))[1:]
    tag = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    path = with_bytes(tmp_path / "a.mp3", b"".join([tag, *frames, tag, *frames]))
    assert mp3.damage(os.open(path, os.O_RDONLY), 10**9) == ""


def test_damage_that_the_decoder_of_mp3_complains_of_is_remarked(tmp_path, capfd):
    frames = mp3_frames(write(tmp_path / "a.mp3", tones(4.0)))
    rng = np.random.default_rng(0)
    frames[20:40] = [frame[:4] + rng.bytes(len(frame) - 4) for frame in frames[20:40]]
    samples, remark = load_remarked(with_bytes(tmp_path / "a.mp3", b"".join(frames)))
    assert len(samples) == 4 * RATE and "damaged frames (" in remark
    assert capfd.readouterr().err == ""


def test_what_others_say_while_an_mp3_is_decoded_is_passed_on(capfd):
    with decoder_log.errors_of_mpg123() as errors:
        os.write(2, b"[src/libmpg123/layer3.c:f():1] error: dequantization failed!\nhello\n")
        assert not errors
    assert errors == ["dequantization failed!"]
    assert capfd.readouterr().err == "hello\n"


def test_tags_behind_the_end_of_an_mp3_are_no_reason_for_a_remark(tmp_path):
    path = write(tmp_path / "a.mp3")
    with_bytes(path, path.read_bytes() + b"APETAGEX" + b"\xff" * 50_000)
    assert len(audio.load(path, RATE, strict=True)) == RATE


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Bytes of a short file by format, and a path to write others to."""
    folder = tmp_path_factory.mktemp("fuzz")
    contents = {
        name: write(folder / f"a.{name}", tones(0.7, channels=2), **kwargs).read_bytes()
        for name, kwargs in {
            "wav": {},
            "flac": {},
            "ogg": {},
            "mp3": {},
        }.items()
    }
    return contents, folder / "mutated"


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["wav", "flac", "ogg", "mp3"]),
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
