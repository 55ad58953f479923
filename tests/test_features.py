"""The log-Mel spectrogram against librosa, and the configuration that names it."""

import dataclasses

import librosa
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from damff_jax import features
from damff_jax.features import (
    FeatureConfig,
    FeatureMismatchError,
    check_same,
    log_mel,
    log_mel_blocks,
    segments,
)

DEFAULT = FeatureConfig()
SMALL = FeatureConfig(
    sample_rate=22_050, n_fft=2048, win_length=1323, hop_length=441, n_mels=64, fmin=30, fmax=10_000
)
ODD = FeatureConfig(sample_rate=8_000, n_fft=514, win_length=333, hop_length=80, n_mels=20)
CONFIGS = [DEFAULT, SMALL, ODD]
TOLERANCE_DB = 1e-4


def librosa_log_mel(samples, config):
    """(n_frames, n_mels) by librosa; zeros around the signal, as its centring pads."""
    # librosa complains of signals shorter than n_fft, which centring makes long enough: pad here.
    padded = np.pad(samples, config.n_fft // 2)
    power = librosa.feature.melspectrogram(
        y=padded,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        win_length=config.win_length,
        center=False,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax or None,
    )
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T


def noise(n, scale=0.1, seed=0):
    return np.random.default_rng(seed).normal(0, scale, n).astype(np.float32)


def tone(n, pitch, rate):
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(n) / rate)).astype(np.float32)


SIGNALS = {
    "noise": lambda rate: noise(2 * rate),
    "faint noise": lambda rate: noise(2 * rate, 1e-4),
    "low tone": lambda rate: tone(2 * rate, 55.0, rate),
    "tone": lambda rate: tone(2 * rate, 1234.5, rate),
    "silence": lambda rate: np.zeros(2 * rate, np.float32),
    "offset": lambda rate: np.full(2 * rate, 0.3, np.float32),
    "click": lambda rate: np.eye(1, 2 * rate, rate, dtype=np.float32)[0],
    "denormals": lambda rate: np.full(2 * rate, 1e-40, np.float32),
    "faint noise under a loud tone": lambda rate: (
        noise(2 * rate, 1e-5) + tone(2 * rate, 60.0, rate)
    ),
    "silence after a loud tone": lambda rate: (
        2 * tone(2 * rate, 60.0, rate) * (np.arange(2 * rate) < rate)
    ),
}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.sample_rate))
@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_log_mel_equals_librosa(config, signal):
    samples = signal(config.sample_rate)
    expected = librosa_log_mel(samples, config)
    actual = log_mel(samples, config)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE_DB)


FILTERS = {
    "default": DEFAULT,
    "small": SMALL,
    "odd": ODD,
    "one": FeatureConfig(n_mels=1),
    "few": FeatureConfig(n_mels=7),
    "linear part only": FeatureConfig(n_mels=8, fmax=900.0),
    "logarithmic part only": FeatureConfig(fmin=2_000.0),
    "from where the parts meet": FeatureConfig(fmin=1_000.0),
}


@pytest.mark.parametrize("config", FILTERS.values(), ids=FILTERS)
def test_mel_filters_equal_librosa(config):
    expected = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax or None,
    ).T
    actual = np.zeros_like(expected)
    for bins, mels, filters in features._mel_bands(config):
        actual[bins, mels] = filters
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7 * expected.max())


def test_mel_bins_without_a_frequency_are_reported():
    config = FeatureConfig(sample_rate=8_000, n_fft=160, win_length=160, hop_length=80, n_mels=128)
    with pytest.warns(UserWarning, match="some Mel bins cover no frequency"):
        frames = log_mel(noise(800), config)
    assert np.isfinite(frames).all()


def test_log_mel_equals_librosa_with_its_own_centring():
    samples = noise(3 * DEFAULT.sample_rate)
    power = librosa.feature.melspectrogram(
        y=samples, sr=44_100, n_fft=2646, hop_length=441, n_mels=128, pad_mode="constant"
    )
    expected = librosa.power_to_db(power, ref=1.0, top_db=None).T
    np.testing.assert_allclose(log_mel(samples, DEFAULT), expected, rtol=0, atol=TOLERANCE_DB)


@settings(max_examples=60, deadline=None)
@given(config=st.sampled_from(CONFIGS), n=st.integers(0, 5000), seed=st.integers(0, 9))
@example(config=DEFAULT, n=0, seed=0)
@example(config=DEFAULT, n=1, seed=0)
@example(config=DEFAULT, n=440, seed=0)
@example(config=DEFAULT, n=441, seed=0)
@example(config=DEFAULT, n=2645, seed=0)
@example(config=DEFAULT, n=2646, seed=0)
@example(config=DEFAULT, n=2647, seed=0)
def test_log_mel_of_short_signals_equals_librosa(config, n, seed):
    samples = noise(n, seed=seed)
    actual = log_mel(samples, config)
    assert actual.shape == (1 + n // config.hop_length, config.n_mels)
    np.testing.assert_allclose(actual, librosa_log_mel(samples, config), rtol=0, atol=TOLERANCE_DB)


@settings(max_examples=60, deadline=None)
@given(
    config=st.sampled_from(CONFIGS),
    lengths=st.lists(
        st.one_of(
            st.integers(0, 6000),
            st.sampled_from([0, 1, 79, 80, 81, 440, 441, 442, 1323, 2645, 2646, 2647]),
        ),
        max_size=12,
    ),
)
def test_any_partition_into_blocks_gives_the_frames_of_the_whole(config, lengths):
    samples = noise(sum(lengths))
    blocks = np.split(samples, np.cumsum(lengths)[:-1]) if lengths else []
    frames = np.concatenate(list(log_mel_blocks(blocks, config)))
    whole = log_mel(samples, config)
    assert frames.shape == whole.shape
    np.testing.assert_allclose(frames, whole, rtol=0, atol=TOLERANCE_DB)


def test_streaming_gives_frames_before_the_signal_ends():
    given_blocks = []

    def blocks():
        for i in range(5):
            given_blocks.append(i)
            yield noise(DEFAULT.sample_rate)

    next(log_mel_blocks(blocks(), DEFAULT))
    assert given_blocks == [0]


def test_frame_is_centred_on_its_time():
    samples = np.zeros(4 * ODD.sample_rate, np.float32)
    samples[100 * ODD.hop_length] = 1.0
    assert np.argmax(log_mel(samples, ODD).sum(axis=1)) == 100


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.sample_rate))
@pytest.mark.parametrize(("seconds", "n_segments"), [(0.47, 0), (0.5, 1), (45.0, 90), (44.97, 89)])
def test_number_of_segments_is_that_of_the_whole_half_seconds(config, seconds, n_segments):
    n_frames = 1 + int(seconds * config.sample_rate) // config.hop_length
    frames = np.arange(n_frames * 2, dtype=np.float32).reshape(n_frames, 2)
    cut = segments(frames, config)
    assert cut.shape == (n_segments, config.frames_per_segment, 2)
    np.testing.assert_array_equal(
        cut.reshape(-1, 2), frames[: n_segments * config.frames_per_segment]
    )


def test_defaults_have_fifty_frames_in_a_segment():
    assert DEFAULT.frames_per_segment == 50


CHANGES = {
    "sample_rate": 22_050,
    "n_fft": 4096,
    "win_length": 2000,
    "hop_length": 450,
    "n_mels": 64,
    "fmin": 20.0,
    "fmax": 16_000.0,
}


def test_equal_configs_have_equal_hashes():
    assert FeatureConfig(fmin=20).hash == FeatureConfig(fmin=20.0).hash
    assert len(DEFAULT.hash) == 8


def test_every_setting_changes_the_hash():
    assert CHANGES.keys() == {field.name for field in dataclasses.fields(FeatureConfig)}
    changed = [
        dataclasses.replace(SMALL if k == "sample_rate" else DEFAULT, **{k: v})
        for k, v in (CHANGES | {"sample_rate": 44_100}).items()
    ]
    hashes = {config.hash for config in [DEFAULT, SMALL, *changed]}
    assert len(hashes) == len(changed) + 2


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "sample_rate"])
def test_every_setting_changes_the_features(name):
    samples = noise(DEFAULT.sample_rate)
    changed = log_mel(samples, dataclasses.replace(DEFAULT, **{name: CHANGES[name]}))
    plain = log_mel(samples, DEFAULT)
    assert changed.shape != plain.shape or np.abs(changed - plain).max() > 0.1


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.sample_rate))
def test_json_holds_the_config(config):
    assert FeatureConfig.from_json(config.to_json()) == config


def test_features_of_another_revision_are_refused(monkeypatch):
    stored = DEFAULT.to_json()
    monkeypatch.setattr(features, "REVISION", features.REVISION + 1)
    with pytest.raises(FeatureMismatchError, match=f"{stored['hash']} .* another revision"):
        FeatureConfig.from_json(stored)


def test_same_features_pass():
    check_same(DEFAULT, FeatureConfig(), "the checkpoint")


def test_other_features_are_refused_showing_both():
    with pytest.raises(FeatureMismatchError) as caught:
        check_same(SMALL, DEFAULT, "the checkpoint")
    message = str(caught.value)
    assert message.startswith("the checkpoint has features")
    assert all(text in message for text in (SMALL.hash, DEFAULT.hash, str(SMALL), str(DEFAULT)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", 7_999),
        ("sample_rate", 192_001),
        ("sample_rate", 44_100.0),
        ("sample_rate", "44100"),
        ("n_fft", 2647),
        ("n_fft", 2644),
        ("n_fft", 44_102),
        ("win_length", 0),
        ("win_length", 2647),
        ("hop_length", 0),
        ("hop_length", -441),
        ("hop_length", 440),
        ("hop_length", True),
        ("n_mels", 0),
        ("n_mels", None),
        ("fmin", -1.0),
        ("fmin", 22_050.0),
        ("fmin", float("nan")),
        ("fmax", 22_051.0),
        ("fmax", -1.0),
        ("fmax", float("inf")),
    ],
)
def test_bad_setting_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"features.*\b{name}\b"):
        FeatureConfig(**{name: value})
