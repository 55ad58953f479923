"""The names of songs, from the tags of files in several formats."""

import av
import numpy as np
import pytest
import soundfile

from damff_jax import audio
from damff_jax.audio import tags
from damff_jax.audio.tags import Tags

CODECS = {"mp3": "mp3", "flac": "flac", "m4a": "aac"}


def write(path, codec, metadata):
    with av.open(str(path), "w") as file:
        file.metadata.update(metadata)
        stream = file.add_stream(codec, rate=44_100)
        stream.layout = "mono"
        samples = np.zeros((1, 44_100), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 44_100
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=44_100)
        for part in [*resampler.resample(frame), None]:
            for packet in stream.encode(part):
                file.mux(packet)
    return path


@pytest.mark.parametrize("extension", CODECS)
def test_title_and_artist_are_read(tmp_path, extension):
    metadata = {"title": "夜に駆ける \n 2", "artist": "Somebody"}
    path = write(tmp_path / f"a.{extension}", CODECS[extension], metadata)
    assert tags.read(path) == Tags("夜に駆ける 2", "Somebody")


def test_tags_of_an_ogg_stream_are_read(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.ogg", "w", 44_100, 1) as file:
        file.title, file.artist = "夜", "Somebody"
        file.write(np.zeros(44_100))
    assert tags.read(tmp_path / "a.ogg") == Tags("夜", "Somebody")


def test_file_without_tags_or_sound_has_none(tmp_path):
    assert tags.read(write(tmp_path / "a.flac", "flac", {})) == Tags()
    assert tags.read(tmp_path / "missing.mp3") == Tags()
    (tmp_path / "text.mp3").write_text("no sound")
    assert tags.read(tmp_path / "text.mp3") == Tags()


def test_playlist_opens_no_other_file(tmp_path):
    song = write(tmp_path / "a.mp3", "mp3", {"title": "A"})
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\n{song}\n#EXT-X-ENDLIST\n")
    assert tags.read(playlist) == Tags()


def test_what_ffmpeg_notes_about_a_file_is_not_shown(tmp_path, caplog):
    path = write(tmp_path / "a.mp3", "mp3", {})
    content = path.read_bytes()
    # Without the header that says how long it is, FFmpeg notes that it estimates the length.
    path.write_bytes(content[content.index(b"\xff\xfb", 200) :])
    audio.load(path, 16_000)  # From here on, FFmpeg's notes are noticed.
    assert tags.read(path) == Tags()
    assert not caplog.records
