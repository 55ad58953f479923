"""The synthetic songs: exact for a seed, and every cue follows its curve in its direction."""

import ast
import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from input_pipeline.synthetic import composer, synthesizer
from input_pipeline.synthetic.composer import (
    compose_parts,
    compose_song,
    draw_curves,
    draw_style,
)
from input_pipeline.synthetic.synthesizer import DRUMS, INSTRUMENTS, Part, render

RATE = 22050
SEEDS = range(6)
N_SEGMENTS = 40


def flat_song(seed, valence=0.0, arousal=0.0):
    """Samples of a 20 s song with constant curves."""
    return compose_song(
        seed,
        duration_s=N_SEGMENTS / 2,
        sample_rate=RATE,
        valence=np.full(N_SEGMENTS, valence),
        arousal=np.full(N_SEGMENTS, arousal),
    ).samples


def flat_parts(seed, valence=0.0, arousal=0.0):
    """Notes of a 20 s song with constant curves; the seed determines style and noise."""
    return compose_parts(
        draw_style(np.random.default_rng(seed)),
        np.full(N_SEGMENTS, valence),
        np.full(N_SEGMENTS, arousal),
        np.random.default_rng(seed),
    )


def rms_db(samples):
    return 10 * np.log10(np.mean(samples.astype(float) ** 2))


def centroid_hz(samples):
    power = np.abs(np.fft.rfft(samples)) ** 2
    return np.sum(np.fft.rfftfreq(len(samples), 1 / RATE) * power) / np.sum(power)


def heard(measure, curve):
    """Means over seeds of a measure of the samples, where a curve is at -0.8 and at 0.8."""
    return np.mean([[measure(flat_song(s, **{curve: x})) for x in (-0.8, 0.8)] for s in SEEDS], 0)


def written(measure, curve):
    """Means over seeds of a measure of the parts, where a curve is at -0.8 and at 0.8."""
    return np.mean([[measure(flat_parts(s, **{curve: x})) for x in (-0.8, 0.8)] for s in SEEDS], 0)


def bar_starts(parts):
    """Times in s at which the chord changes; it does so with every bar."""
    pitch_class = parts["root"].pitch_n % 12
    return parts["root"].start_n[1:][np.diff(pitch_class) != 0]


def note(instrument, pitch=69.0, level=0.0, brightness=0.0, start=0.0, duration=0.5):
    return Part(instrument, *(np.array([x]) for x in (start, duration, pitch, level, brightness)))


# --- the song as data


def test_same_seed_gives_same_bytes_whatever_came_before():
    first = compose_song(7, duration_s=5.0, sample_rate=RATE)
    np.random.default_rng(7).random()
    compose_song(8, duration_s=3.0, sample_rate=16000)
    again = compose_song(7, duration_s=5.0, sample_rate=RATE)
    for a, b in zip(first, again, strict=True):
        assert a.tobytes() == b.tobytes()


def test_different_seeds_give_different_curves_and_sound():
    a, b = (compose_song(seed, duration_s=5.0, sample_rate=RATE) for seed in (1, 2))
    assert np.abs(a.valence - b.valence).max() > 0.05
    assert np.abs(a.arousal - b.arousal).max() > 0.05
    assert abs(np.corrcoef(a.samples, b.samples)[0, 1]) < 0.5


@pytest.mark.parametrize("n_segments", [1, 2, 61, 300])
@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_lengths_dtypes_and_ranges(n_segments, rate):
    song = compose_song(3, duration_s=n_segments / 2, sample_rate=rate)
    assert song.samples.shape == (round(n_segments / 2 * rate),)
    assert song.valence.shape == song.arousal.shape == (n_segments,)
    assert {x.dtype for x in song} == {np.dtype(np.float32)}
    assert np.abs(song.samples).max() <= 1
    assert np.abs([song.valence, song.arousal]).max() <= 0.9
    assert rms_db(song.samples) > -45


def test_twenty_minutes():
    song = compose_song(4, duration_s=1200.0, sample_rate=8000)
    assert song.samples.shape == (9_600_000,)
    last_minutes = song.samples.reshape(20, -1)
    assert min(rms_db(minute) for minute in last_minutes) > -45


curves = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), curves, st.randoms(use_true_random=False))
def test_any_curve_is_followed_and_returned_unchanged(seed, values, random):
    valence = np.array(values, np.float32)
    arousal = np.array(random.sample(values, len(values)), np.float32)
    song = compose_song(
        seed, duration_s=len(values) / 2, sample_rate=8000, valence=valence, arousal=arousal
    )
    assert np.array_equal(song.valence, valence)
    assert np.array_equal(song.arousal, arousal)
    assert np.isfinite(song.samples).all()
    assert np.abs(song.samples).max() <= 1
    assert rms_db(song.samples) > -60


def test_one_given_curve_leaves_the_other_drawn():
    drawn = compose_song(5, duration_s=5.0, sample_rate=8000)
    given_valence = compose_song(5, duration_s=5.0, sample_rate=8000, valence=np.zeros(10))
    assert np.array_equal(given_valence.arousal, drawn.arousal)
    assert not given_valence.valence.any()


def test_given_curve_is_copied():
    valence = np.zeros(4, np.float32)
    song = compose_song(5, duration_s=2.0, sample_rate=8000, valence=valence)
    valence[:] = 1
    assert not song.valence.any()


def test_given_back_its_own_curves_a_seed_gives_the_same_song():
    song = compose_song(6, duration_s=5.0, sample_rate=8000)
    again = compose_song(
        6, duration_s=5.0, sample_rate=8000, valence=song.valence, arousal=song.arousal
    )
    assert song.samples.tobytes() == again.samples.tobytes()


@pytest.mark.parametrize("name", ["valence", "arousal"])
@pytest.mark.parametrize(
    "curve",
    [np.full(4, np.nan), np.array([0, 0, np.nan, 0]), np.zeros(3), np.zeros((4, 1)), np.full(4, 2)],
)
def test_refuses_curves(name, curve):
    with pytest.raises(ValueError, match=name):
        compose_song(0, duration_s=2.0, **{name: curve})


@pytest.mark.parametrize("duration_s", [0, -1.0, 0.25, 2.3, float("nan"), float("inf")])
def test_refuses_durations(duration_s):
    with pytest.raises(ValueError, match="duration_s"):
        compose_song(0, duration_s=duration_s)


def test_refuses_other_arguments():
    with pytest.raises(ValueError, match="sample_rate"):
        compose_song(0, duration_s=1.0, sample_rate=4000)
    with pytest.raises(ValueError, match="seed"):
        compose_song(-1, duration_s=1.0)


@pytest.mark.parametrize("module", [composer, synthesizer])
def test_needs_only_numpy(module):
    imported = set()
    for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    own = {"numpy", "input_pipeline.synthetic.synthesizer"}
    assert {name.split(".")[0] for name in imported - own} <= sys.stdlib_module_names


# --- the drawn curves


def test_drawn_curves_have_the_promised_spread_and_are_independent():
    rng = np.random.default_rng(0)
    curves_Sx2xT = np.array([draw_curves(rng, 90) for _ in range(600)])
    assert np.abs(curves_Sx2xT).max() <= 0.9
    between, within = curves_Sx2xT.mean(2).std(0), curves_Sx2xT.std(2).mean(0)
    assert ((between > 0.3) & (between < 0.4)).all()
    assert ((within > 0.12) & (within < 0.18)).all()
    assert np.abs(np.diff(curves_Sx2xT)).max() < 0.15  # in 0.5 s
    assert abs(np.corrcoef(*curves_Sx2xT.mean(2).T)[0, 1]) < 0.1


# --- the cues of arousal


def test_arousal_raises_loudness():
    low, high = heard(rms_db, "arousal")
    assert high - low > 10


def test_arousal_raises_the_spectral_centroid():
    low, high = heard(centroid_hz, "arousal")
    assert high > 1.5 * low


def test_arousal_raises_the_number_of_onsets():
    def rises(samples):
        """Number of rises of the level by 3 dB within 20 ms."""
        frame_F = samples[: len(samples) // 441 * 441].reshape(-1, 441).astype(float)
        level_F = 10 * np.log10(np.mean(frame_F**2, 1) + 1e-8)
        return np.sum(np.diff(level_F) > 3)

    low, high = heard(rises, "arousal")
    assert high > 1.5 * low


@pytest.mark.parametrize("name", ["melody", "root", "bass", "hat"])
def test_arousal_raises_the_density_beyond_the_tempo(name):
    def notes_per_bar(parts):
        return len(parts[name].start_n) / len(bar_starts(parts))

    low, high = written(notes_per_bar, "arousal")
    assert high > 1.8 * low


def test_arousal_shortens_notes_beyond_the_tempo():
    def filled(parts):
        """Share of the distance to the next note that a melody note sounds."""
        _, start_n, duration_n, *_ = parts["melody"]
        return np.median(duration_n[:-1] / np.diff(start_n))

    low, high = written(filled, "arousal")
    assert low > 0.9
    assert high < 0.65


def test_arousal_sets_the_tempo():
    slow, fast = written(lambda parts: np.diff(bar_starts(parts)).mean(), "arousal")
    assert fast < slow / 1.8


# --- the cues of valence


@pytest.mark.parametrize(("valence", "third"), [(-0.8, 3), (-0.1, 3), (0.1, 4), (0.8, 4)])
def test_valence_sets_the_third_of_the_tonic(valence, third):
    for seed in SEEDS:
        style = draw_style(np.random.default_rng(seed))
        parts = flat_parts(seed, valence=valence)
        on_tonic = (parts["root"].pitch_n - style.tonic) % 12 == 0
        interval_n = (parts["third"].pitch_n - parts["root"].pitch_n)[on_tonic] % 12
        assert on_tonic.any()
        assert (interval_n == third).all()


def test_low_valence_adds_dissonance():
    for name in ("clash", "root_mistuned"):
        low, middle, high = (flat_parts(0, valence=v)[name].level_n for v in (-0.8, 0.0, 0.8))
        assert low.min() > middle.max() + 3
        assert high.size == 0
    parts = flat_parts(0, valence=-0.8)
    assert np.all(parts["clash"].pitch_n - parts["root"].pitch_n == 1)


def test_low_valence_beats_in_the_sound():
    def beating(samples):
        """Mean change of the level between 20 ms frames, dB."""
        frame_F = samples[: len(samples) // 441 * 441].reshape(-1, 441).astype(float)
        return np.median(np.abs(np.diff(10 * np.log10(np.mean(frame_F**2, 1) + 1e-8))))

    low, high = heard(beating, "valence")
    assert low > 1.2 * high


def test_valence_raises_the_register():
    def median_pitch(samples):
        """Frequency with half of the power below it, in semitones."""
        power = np.cumsum(np.abs(np.fft.rfft(samples)) ** 2)
        frequency = np.searchsorted(power, power[-1] / 2) * RATE / len(samples)
        return 12 * np.log2(frequency)

    low, high = heard(median_pitch, "valence")
    assert high - low > 7
    for name in ("melody", "root", "bass"):
        low, high = written(lambda parts, name=name: parts[name].pitch_n.mean(), "valence")
        assert high - low > 5


def test_low_valence_makes_the_rhythm_irregular():
    def unevenness(parts):
        """Spread of the distances between hats, relative to their mean."""
        gaps = np.diff(parts["hat"].start_n)
        return gaps.std() / gaps.mean()

    low, high = written(unevenness, "valence")
    assert low > 1.3 * high
    low, high = written(lambda parts: np.diff(bar_starts(parts)).std(), "valence")
    assert low > 3 * high


# --- the two curves stay apart


def test_valence_does_not_change_loudness_and_density():
    low, high = heard(rms_db, "valence")
    assert abs(high - low) < 2
    low, high = written(lambda parts: len(parts["melody"].start_n), "valence")
    assert 0.8 < high / low < 1.25


def test_arousal_does_not_change_pitch():
    low, high = written(lambda parts: parts["melody"].pitch_n.mean(), "arousal")
    assert abs(high - low) < 1


def test_cues_move_within_a_song():
    arousal = np.repeat([-0.6, 0.6], 40)
    for seed in SEEDS:
        song = compose_song(seed, duration_s=40.0, sample_rate=RATE, arousal=arousal)
        calm, excited = np.split(song.samples, 2)
        assert rms_db(excited) - rms_db(calm) > 6
        assert centroid_hz(excited) > centroid_hz(calm)


# --- the synthesizer


@pytest.mark.parametrize("name", INSTRUMENTS)
@pytest.mark.parametrize("pitch", [33.0, 57.0, 90.25])
def test_instruments_play_the_pitch(name, pitch):
    samples = render([note(name, pitch, duration=1.0)], RATE, RATE)
    power = np.abs(np.fft.rfft(samples, 8 * RATE)) ** 2
    expected_hz = 440 * 2 ** ((pitch - 69) / 12)
    near = slice(int(8 * expected_hz * 0.8), int(8 * expected_hz * 1.2))
    assert (near.start + np.argmax(power[near])) / 8 == pytest.approx(expected_hz, rel=0.006)
    below = power[: near.start].sum()
    assert below < 0.02 * power.sum()


@pytest.mark.parametrize("name", DRUMS)
def test_drums_sound_and_end(name):
    samples = render([note(name, start=0.25)], RATE, RATE)
    assert not samples[: RATE // 4].any()
    assert np.abs(samples).max() > 0.01
    assert not samples[int(0.56 * RATE) :].any()


def test_brightness_changes_the_spectrum_and_not_the_power():
    dark, bright = (render([note("piano", 57.0, brightness=b)], RATE, RATE) for b in (-1.5, 1.5))
    assert centroid_hz(bright) > 1.5 * centroid_hz(dark)
    assert rms_db(bright) == pytest.approx(rms_db(dark), abs=0.5)


def test_levels_are_decibels_and_parts_add_up():
    soft, loud = (render([note("organ", level=x)], RATE, RATE) for x in (-26.0, -20.0))
    assert rms_db(loud) - rms_db(soft) == pytest.approx(6, abs=0.01)
    other = render([note("flute", 76.0, -20.0)], RATE, RATE)
    both = render([note("organ", level=-20.0), note("flute", 76.0, -20.0)], RATE, RATE)
    np.testing.assert_allclose(both, loud + other, atol=1e-5)


def test_sound_beyond_the_end_is_cut():
    whole = render([note("strings", start=0.2)], RATE, RATE)
    cut = render([note("strings", start=0.2), note("piano", start=2.0)], RATE // 2, RATE)
    assert np.array_equal(cut, whole[: RATE // 2])
