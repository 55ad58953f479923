"""The cache of features: the same bytes as without it, and never a wrong one."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from damff_jax.audio import AudioError
from damff_jax.features import FeatureConfig
from input_pipeline import extraction, feature_cache
from input_pipeline.annotations import Labels
from input_pipeline.corpus import AudioFile, Recording
from input_pipeline.extraction import extract
from input_pipeline.feature_cache import FeatureCache
from input_pipeline.midi import MidiFile

CONFIG = FeatureConfig(sample_rate=8000, n_fft=400, win_length=400, hop_length=160, n_mels=16)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def song(tmp_path):
    """Four seconds with a decoder warning, labelled from second 1 to 5."""
    path = tmp_path / "song.wav"
    samples = np.random.default_rng(0).normal(0, 0.1, 4 * 8000)
    soundfile.write(path, samples, 8000)
    return song_of(path)


def song_of(path, first_segment=2, n_segments=8, audio_start=0.0):
    shape = n_segments, 2
    labels = Labels(first_segment, np.zeros(shape, np.float32), np.ones(shape, bool))
    return Recording("song", AudioFile(str(path)), labels, audio_start)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def extractions(monkeypatch):
    """The songs that were actually extracted."""
    done = []

    def count(song, config):
        done.append(song)
        return extract(song, config)

    monkeypatch.setattr(feature_cache, "extract", count)
    return done


def files_of(cache):
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


def assert_same(a, b):
    assert a.log_mel_TxFxM.dtype == b.log_mel_TxFxM.dtype == np.float16
    assert a.log_mel_TxFxM.shape == b.log_mel_TxFxM.shape
    assert a.log_mel_TxFxM.tobytes() == b.log_mel_TxFxM.tobytes()
    assert (a.n_missing, a.warnings) == (b.n_missing, b.warnings)


def test_the_cache_returns_what_was_extracted(song, cache, extractions):
    plain = extract(song, CONFIG)
    assert plain.n_missing == 2 and plain.warnings
    for _ in range(2):
        assert_same(cache.extract(song, CONFIG), plain)
    assert len(extractions) == len(files_of(cache)) == 1


def test_song_without_any_segment_is_cached(tmp_path, song, cache):
    late = song_of(song.source.path, first_segment=99)
    for _ in range(2):
        assert_same(cache.extract(late, CONFIG), extract(late, CONFIG))


def test_everything_that_determines_features_is_part_of_the_key(tmp_path, song, cache, extractions):
    louder = tmp_path / "louder.wav"
    soundfile.write(louder, 2 * soundfile.read(song.source.path)[0], 8000)
    variants = [
        (song, CONFIG),
        (song, dataclasses.replace(CONFIG, n_mels=17)),
        (song_of(song.source.path, first_segment=3), CONFIG),
        (song_of(song.source.path, n_segments=7), CONFIG),
        (song_of(song.source.path, audio_start=0.5), CONFIG),
        (song_of(song.source.path, audio_start=0.75), CONFIG),
        (song_of(louder), CONFIG),
    ]
    for _ in range(2):
        for variant in variants:
            assert_same(cache.extract(*variant), extract(*variant))
    assert len(extractions) == len(files_of(cache)) == len(variants)


def test_moved_file_is_recognised_and_warnings_name_its_new_path(
    tmp_path, song, cache, extractions
):
    cache.extract(song, CONFIG)
    moved = song_of(shutil.move(song.source.path, tmp_path / "moved.wav"))
    extracted = cache.extract(moved, CONFIG)
    assert len(extractions) == 1
    assert_same(extracted, extract(moved, CONFIG))
    assert "moved.wav" in extracted.warnings[0]


def test_changed_file_of_the_same_size_and_time_is_extracted_again(song, cache, extractions):
    path, stat = song.source.path, os.stat(song.source.path)
    cache.extract(song, CONFIG)
    soundfile.write(path, soundfile.read(path)[0][::-1], 8000)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert os.stat(path).st_size == stat.st_size
    assert_same(cache.extract(song, CONFIG), extract(song, CONFIG))
    assert len(extractions) == 2


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_damaged_file_is_computed_again_and_replaced(song, cache, extractions, damage):
    plain = cache.extract(song, CONFIG)
    damage(files_of(cache)[0])
    for _ in range(2):
        assert_same(cache.extract(song, CONFIG), plain)
    assert len(extractions) == 2


def test_file_under_another_ones_name_is_not_taken_for_it(song, cache):
    cache.extract(song, CONFIG)
    [path] = files_of(cache)
    other = song_of(song.source.path, n_segments=4)
    cache.extract(other, CONFIG)
    [name] = set(files_of(cache)) - {path}
    shutil.copy(path, name)
    assert_same(cache.extract(other, CONFIG), extract(other, CONFIG))


# At the call that renames the file, when everything has been written, and before.
@pytest.mark.parametrize("moment", ["os.replace", "hashlib.sha256"])
def test_killed_writer_leaves_nothing_that_is_read(song, cache, moment):
    code = f"""
import os, hashlib, signal, sys
from input_pipeline import feature_cache
from tests.input_pipeline.test_feature_cache import CONFIG, song_of
original = feature_cache._write
def write(*arguments):
    module, name = {moment!r}.split(".")
    setattr(sys.modules[module], name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    original(*arguments)
feature_cache._write = write
feature_cache.FeatureCache(feature_cache.Path({str(cache.folder)!r})).extract(
    song_of({song.source.path!r}), CONFIG
)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=100)
    assert result.returncode == -9
    assert all(path.name.endswith(".tmp") for path in files_of(cache))
    for _ in range(2):
        assert_same(cache.extract(song, CONFIG), extract(song, CONFIG))


def test_workers_share_the_folder_and_the_next_build_computes_nothing(tmp_path, cache, extractions):
    songs = []
    for seed in range(6):
        path = tmp_path / f"{seed}.wav"
        soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, 24_000), 8000)
        songs.append(song_of(path))
    with extraction.pool(2) as executor:
        first = list(cache.extract_all(songs, CONFIG, executor))
        assert not extractions and len(files_of(cache)) == 6
        flip(files_of(cache)[0])
        again = list(cache.extract_all(songs, CONFIG, executor))
    assert len(extractions) == 1
    for song, a, b in zip(songs, first, again, strict=True):
        plain = extract(song, CONFIG)
        assert a[0] is b[0] is song
        assert_same(a[1], plain)
        assert_same(b[1], plain)


def test_unreadable_audio_is_not_cached(tmp_path, cache):
    with pytest.raises(AudioError, match=r"none\.wav: No such file"):
        cache.extract(song_of(tmp_path / "none.wav"), CONFIG)
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"text\.wav: not readable as audio"):
        cache.extract(song_of(tmp_path / "text.wav"), CONFIG)
    assert not cache.folder.exists()


def test_identity_of_a_midi_file_is_that_of_its_sound(tmp_path):
    for name, text in (("a.mid", "a"), ("b.mid", "b"), ("a.sf2", "c"), ("b.sf2", "d")):
        (tmp_path / name).write_text(text)
    (tmp_path / "copy.mid").write_text("a")

    def identity(name, soundfont="a.sf2", duration_s=2.0):
        return MidiFile(str(tmp_path / name), str(tmp_path / soundfont), duration_s).identity()

    assert identity("a.mid") == identity("copy.mid")
    different = {identity("a.mid"), identity("b.mid"), identity("a.mid", "b.sf2")}
    assert len(different | {identity("a.mid", duration_s=2.5)}) == 4
    before = identity("a.mid")
    os.utime(tmp_path / "a.sf2", ns=(1, 1))
    assert identity("a.mid") == before
    (tmp_path / "a.sf2").write_text("another")
    assert identity("a.mid") != before
