"""Features of songs by worker processes: the same numbers, cheap workers, errors at their song."""

import contextlib
import dataclasses
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.audio import AudioError, AudioWarning
from damff_jax.features import FeatureConfig, log_mel
from damff_jax.system import subprocesses
from input_pipeline import extraction
from input_pipeline.annotations import Labels
from input_pipeline.corpus import AudioFile, CorpusError, Recording, first_segment
from input_pipeline.extraction import Extracted, extract
from input_pipeline.feature_cache import FeatureCache
from input_pipeline.midi import MidiFile
from input_pipeline.synthetic import songs as synthetic_songs

CONFIG = FeatureConfig(sample_rate=8000, n_fft=400, win_length=400, hop_length=160, n_mels=16)
RATE = CONFIG.sample_rate
F = CONFIG.frames_per_segment


@dataclasses.dataclass(frozen=True)
class Noise:
    """A source of noise, in blocks that do not match segments."""

    seed: int
    seconds: float

    def samples(self):
        rng = np.random.default_rng(self.seed)
        return rng.normal(0, 0.1, round(self.seconds * RATE)).astype(np.float32)

    def blocks(self, sample_rate):
        assert sample_rate == RATE
        yield from np.array_split(self.samples(), 7)


def labels_of(first_segment, n_segments):
    shape = n_segments, 2
    return Labels(first_segment, np.zeros(shape, np.float32), np.ones(shape, bool))


def song_of(source, first_segment=0, n_segments=8, audio_start=0.0):
    return Recording("song", source, labels_of(first_segment, n_segments), audio_start)


# One song ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "n", "n_missing"),
    [(0, 8, 0), (3, 4, 0), (0, 20, 0), (19, 1, 0), (15, 9, 4), (0, 30, 10), (20, 3, 3), (99, 2, 2)],
)
def test_features_are_those_of_the_labelled_segments(first, n, n_missing):
    source = Noise(0, 10.0)
    extracted = extract(song_of(source, first, n), CONFIG)
    whole = log_mel(source.samples(), CONFIG)
    expected = whole[first * F : (first + n - n_missing) * F].reshape(-1, F, CONFIG.n_mels)
    assert extracted.log_mel_TxFxM.dtype == np.float16
    assert extracted.log_mel_TxFxM.shape == expected.shape
    # Half a unit in the last place of float16 at 100 dB.
    np.testing.assert_allclose(extracted.log_mel_TxFxM, expected, rtol=0, atol=0.0315)
    assert extracted.n_missing == n_missing


def test_incomplete_last_segment_is_missing():
    assert extract(song_of(Noise(0, 9.9), 0, 20), CONFIG).n_missing == 1


def test_decoders_warnings_are_kept_with_the_song(tmp_path):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.zeros(3 * RATE), RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AudioWarning)
        extracted = extract(song_of(AudioFile(path), 0, 4), CONFIG)
    assert extracted.warnings == [f"{path}: at 8000 Hz there is no content above 4000 Hz"]


def test_unreadable_audio_is_an_error(tmp_path):
    with pytest.raises(AudioError, match=r"none\.wav: No such file"):
        extract(song_of(AudioFile(str(tmp_path / "none.wav"))), CONFIG)


# Audio that begins later than the song -----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """A part of another source, in blocks that do not match segments."""

    source: Noise
    first: int
    last: int | None = None

    def samples(self):
        return self.source.samples()[self.first : self.last]

    def blocks(self, sample_rate):
        assert sample_rate == RATE
        yield from np.array_split(self.samples(), 11)


# Frames at either end of an excerpt whose windows reach beyond it.
EDGE = -(-CONFIG.n_fft // 2 // CONFIG.hop_length)


def assert_same_but_at_the_edges(excerpt, whole):
    """Compares the same segments; if frames began a sample later, noise would differ by many dB."""
    ours, theirs = (x.log_mel_TxFxM.reshape(-1, CONFIG.n_mels) for x in (excerpt, whole))
    assert ours.shape == theirs.shape and len(ours) > 2 * EDGE
    inner = slice(EDGE, -EDGE)
    np.testing.assert_allclose(ours[inner], theirs[inner], rtol=0, atol=0.0315)


@pytest.mark.parametrize(
    ("audio_start", "first"), [(30.0, 60), (12.3, 25), (12.5, 25), (0.1, 1), (29.977, 60)]
)
def test_features_of_an_excerpt_are_those_of_the_song_at_the_same_segments(audio_start, first):
    song = Noise(3, 36.0)
    excerpt = Excerpt(song, round(audio_start * RATE), round((audio_start + 5.3) * RATE))
    n = int(2 * (audio_start + 5.3)) - first
    ours = extract(song_of(excerpt, first, n, audio_start), CONFIG)
    assert ours.n_missing == 0 and len(ours.log_mel_TxFxM) == n
    assert_same_but_at_the_edges(ours, extract(song_of(song, first, n), CONFIG))
    # The same if labels begin later than the audio.
    later = extract(song_of(excerpt, first + 2, n - 2, audio_start), CONFIG)
    np.testing.assert_array_equal(later.log_mel_TxFxM, ours.log_mel_TxFxM[2:])


@settings(deadline=None, max_examples=60)
@given(first=st.integers(0, 2 * RATE), late=st.integers(0, 2), n=st.integers(1, 4))
def test_an_excerpt_may_begin_at_any_sample(first, late, n):
    song, audio_start = Noise(4, 6.0), first / RATE
    segment = first_segment(audio_start) + late
    ours = extract(song_of(Excerpt(song, first), segment, n, audio_start), CONFIG)
    assert_same_but_at_the_edges(ours, extract(song_of(song, segment, n), CONFIG))


def test_a_start_between_two_samples_is_the_nearer_one():
    song = Noise(5, 4.0)
    ours = extract(song_of(Excerpt(song, 2402), 1, 4, 2401.6 / RATE), CONFIG)
    np.testing.assert_array_equal(
        ours.log_mel_TxFxM,
        extract(song_of(Excerpt(song, 2402), 1, 4, 2402 / RATE), CONFIG).log_mel_TxFxM,
    )
    assert_same_but_at_the_edges(ours, extract(song_of(song, 1, 4), CONFIG))


@given(lengths=st.lists(st.integers(0, 9), max_size=8), n=st.integers(0, 60))
def test_the_first_samples_are_left_out_whatever_the_blocks(lengths, n):
    samples = np.arange(sum(lengths))
    blocks = np.split(samples, np.cumsum(lengths)[:-1]) if lengths else []
    left = list(extraction._without_first(iter(blocks), n))
    np.testing.assert_array_equal(np.concatenate([*left, samples[:0]]), samples[n:])


@pytest.mark.parametrize(
    ("seconds", "first", "n_missing"),
    [
        (0.0, 25, 4),  # No sound at all;
        (0.1, 25, 4),  # less than before the first whole segment;
        (0.6, 25, 4),  # less than a segment after it;
        (0.7, 25, 3),  # one segment;
        (0.7, 26, 4),  # which ends before the labels begin;
        (2.2, 25, 0),
    ],
)
def test_labels_past_the_end_of_an_excerpt_are_missing(seconds, first, n_missing):
    excerpt = Excerpt(Noise(6, 20.0), round(12.3 * RATE), round((12.3 + seconds) * RATE))
    extracted = extract(song_of(excerpt, first, 4, 12.3), CONFIG)
    assert extracted.n_missing == n_missing
    assert extracted.log_mel_TxFxM.shape == (4 - n_missing, F, CONFIG.n_mels)


# Many songs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Ten songs as files; the sixth one is missing in `broken`."""
    folder = tmp_path_factory.mktemp("songs")
    songs = []
    for i in range(10):
        path = str(folder / f"{i}.flac")
        soundfile.write(path, Noise(i, 3 + i / 3).samples(), RATE)
        songs.append(Recording(str(i), AudioFile(path), labels_of(i % 3, 5)))
    return songs


def broken(songs):
    return [*songs[:5], Recording("broken", AudioFile("/none.wav"), songs[0].labels), *songs[6:]]


def test_workers_give_the_songs_in_order_with_the_same_bytes(songs, tmp_path):
    alone = list(FeatureCache(tmp_path / "alone").extract_all(songs, CONFIG))
    with extraction.pool(2) as executor:
        cache = FeatureCache(tmp_path / "together")
        together = list(cache.extract_all(iter(songs), CONFIG, executor))
    assert [song for song, _ in together] == songs
    for (_, a), (_, b) in zip(alone, together, strict=True):
        assert a.log_mel_TxFxM.tobytes() == b.log_mel_TxFxM.tobytes()
        assert (a.n_missing, a.warnings) == (b.n_missing, b.warnings)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_song_that_cannot_be_read_comes_with_its_error(songs, pooled, tmp_path):
    with extraction.pool(2) if pooled else contextlib.nullcontext() as executor:
        extracted = FeatureCache(tmp_path).extract_all(broken(songs), CONFIG, executor)
        results = {song.song_id: result for song, result in extracted}
    assert list(results) == ["0", "1", "2", "3", "4", "broken", "6", "7", "8", "9"]
    error = results.pop("broken")
    assert isinstance(error, AudioError) and str(error).startswith("/none.wav: No such file")
    assert all(isinstance(result, Extracted) for result in results.values())


@dataclasses.dataclass(frozen=True)
class Deadly:
    def identity(self):
        return "deadly"

    def blocks(self, sample_rate):
        os._exit(9)


def test_death_of_a_worker_is_an_error(songs, tmp_path):
    doomed = [songs[0], song_of(Deadly()), *songs[2:]]
    with (
        pytest.raises(CorpusError, match="a worker process died"),
        extraction.pool(2) as executor,
    ):
        list(FeatureCache(tmp_path).extract_all(doomed, CONFIG, executor))


def modules_and_threads(*_):
    return set(sys.modules), {name: os.environ.get(name) for name in subprocesses.SINGLE_THREADED}


def test_workers_import_neither_jax_nor_tensorflow():
    # Everything that workers are sent, for all data sets: unpickling imports its module.
    sent = extract, song_of(AudioFile("a")), MidiFile("a", "b", 1.0), synthetic_songs.write_songs
    sent += (FeatureCache(Path("a")).fill,)
    with extraction.pool(1) as executor:
        modules, _ = executor.submit(modules_and_threads, *sent).result()
    assert {"jax", "jaxlib", "flax", "tensorflow", "tensorflow_datasets"}.isdisjoint(modules)
    assert "av" in modules


def test_workers_are_single_threaded_and_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with extraction.pool(1) as executor:
        _, threads = executor.submit(modules_and_threads).result()
    assert set(threads.values()) == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_features_of_wav_and_flac_are_the_same_bytes(tmp_path):
    samples = np.round(20_000 * Noise(0, 4.0).samples()).astype(np.int16)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, samples, RATE)
    a, b = (extract(song_of(AudioFile(str(tmp_path / f"a.{x}"))), CONFIG) for x in ("wav", "flac"))
    assert a.log_mel_TxFxM.tobytes() == b.log_mel_TxFxM.tobytes()
