"""The profile of training songs, and input that is unlike them."""

import numpy as np
import pytest

from damff_jax.evaluation.familiarity import (
    STATISTICS,
    WINDOW,
    Listener,
    Profile,
    statistics,
    windows,
)
from damff_jax.features import FeatureConfig, log_mel, segments
from input_pipeline.synthetic.composer import compose_song

CONFIG = FeatureConfig(sample_rate=16_000, n_fft=1024, win_length=800, hop_length=800, n_mels=32)
RATE = CONFIG.sample_rate


def log_mel_of(samples):
    return segments(log_mel(np.float32(samples), CONFIG), CONFIG)


@pytest.fixture(scope="module")
def songs():
    return [
        log_mel_of(compose_song(seed, duration_s=40.0, sample_rate=RATE).samples)
        for seed in range(40)
    ]


@pytest.fixture(scope="module")
def profile(songs):
    return Profile.of_songs(songs[:30])


def unlikeness(profile, log_mel_TxFxM):
    listener = Listener()
    for _ in listener.hear([log_mel_TxFxM]):
        pass
    return profile.unlikeness(listener.statistics())


def test_songs_like_those_of_the_training_are_within_the_limit(profile, songs):
    assert all(unlikeness(profile, song) <= 1 for song in songs[:30])
    assert np.mean([unlikeness(profile, song) <= 1 for song in songs[30:]]) >= 0.9


def test_noise_tones_clicks_and_silence_are_unlike_songs(profile):
    rng, t = np.random.default_rng(0), np.arange(20 * RATE) / RATE
    noise = rng.standard_normal(len(t))
    for sound in (
        0.1 * noise,
        0.001 * noise,
        0.5 * np.sin(2 * np.pi * 440 * t),
        0.5 * np.sin(2 * np.pi * 60 * t),
        np.zeros_like(t),
        (np.arange(len(t)) % 8000 == 0).astype(float),
    ):
        assert unlikeness(profile, log_mel_of(sound)) > 1.2


def test_statistics_are_finite_whatever_the_input():
    for x in (np.full((WINDOW, 10, 32), -100.0), np.zeros((1, 2, 8)), np.zeros((WINDOW, 50, 128))):
        assert statistics(x).shape == (len(STATISTICS),) and np.isfinite(statistics(x)).all()


def test_the_blocks_of_a_stream_do_not_matter_and_are_passed_on(songs):
    song = songs[0][: 2 * WINDOW + 7]
    whole = np.array([statistics(x) for x in windows(song)])
    assert len(whole) == 2
    for cuts in ([1, 2, 50], [WINDOW], [13, 14, 15, 40]):
        blocks, listener = np.split(song, cuts), Listener()
        passed = list(listener.hear(blocks))
        assert all(a is b for a, b in zip(passed, blocks, strict=True))
        np.testing.assert_array_equal(listener.statistics(), whole)


def test_a_short_song_is_described_as_a_whole_and_nothing_has_no_statistics():
    song = np.random.default_rng(0).normal(-40, 5, (3, 10, 32))
    listener = Listener()
    list(listener.hear([song]))
    np.testing.assert_array_equal(listener.statistics(), [statistics(song)])
    assert Listener().statistics().shape == (0, len(STATISTICS))


def test_a_profile_comes_back_from_its_arrays(profile, songs):
    again = Profile.from_arrays(profile.arrays())
    for song in songs[30:33]:
        assert unlikeness(again, song) == pytest.approx(unlikeness(profile, song), rel=1e-3)
    arrays = profile.arrays()
    for spoilt in (
        {},
        {**arrays, "limits": np.float32([1.0])},
        {**arrays, "quantiles": arrays["quantiles"] * np.nan},
        {**arrays, "more": arrays["limits"]},
    ):
        with pytest.raises(ValueError, match="not a profile of training songs"):
            Profile.from_arrays(spoilt)


def test_too_few_songs_have_no_profile(songs):
    assert Profile.of_songs(songs[:2]) is None
    assert Profile.of_songs([]) is None


def test_distances_are_those_of_normal_scores_whatever_the_statistics_scale():
    """Of a random population, against the chi distribution; 13 is the number of statistics."""
    rng = np.random.default_rng(0)
    population = np.exp(rng.normal(size=(4000, len(STATISTICS))) * np.linspace(0.1, 1, 13))
    profile = Profile._without_limits(population[:2000])
    distances = [profile._measures(x[None])[0] for x in population[2000:]]
    # The median of chi with 13 degrees of freedom; its 99th percentile is 5.26, and linear tails
    # are a little wider.
    assert np.median(distances) == pytest.approx(3.51, abs=0.1)
    assert 5.1 < np.quantile(distances, 0.99) < 6
