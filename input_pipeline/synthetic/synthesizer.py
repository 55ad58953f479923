"""Sound of the synthetic songs: from note events to samples, with numpy only.

A pitched note is one cycle of its instrument (a wavetable), read at the note's frequency and shaped
by an envelope. A drum hit is a short fixed sound. Nothing is done per sample in Python: a note
costs a few array operations, so a song is rendered about a hundred times faster than real time.

Every wavetable has an RMS of 1 before its envelope, so that brightness changes the spectrum of a
note without changing its power: loudness and brightness stay separate cues.

The samples are a pure function of the arguments. The caches below only keep results of pure
functions. Different numpy builds may differ in the last bits, because their sine does.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

TABLE_SIZE = 4096
MAX_HARMONICS = 64
BRIGHTNESS_STEP = 0.25
VIBRATO_HZ = 5.5
NOMINAL_GAIN = 0.055  # a note at 0 dB; about ten voices fit before the limiter distorts


class Part(NamedTuple):
    """Notes of one instrument; each array has one entry per note (n)."""

    instrument: str  # a name in INSTRUMENTS or DRUMS
    start_n: np.ndarray  # s, not negative
    duration_n: np.ndarray  # s, from key down to key up, not negative; drums ignore it
    pitch_n: np.ndarray  # MIDI number, fractions allowed (60 = C4, 69 = 440 Hz); drums ignore it
    level_n: np.ndarray  # dB
    brightness_n: np.ndarray  # about -2 (dark) to 2 (bright); drums ignore it


class Instrument(NamedTuple):
    """Spectrum and envelope of a pitched instrument."""

    tilt_db: float  # fall of the harmonics at brightness 0, dB per octave
    attack_s: float
    decay_s: float  # time constant of the fall from 1 to `sustain`
    sustain: float  # relative to the peak
    release_s: float
    even: float = 1.0  # amplitude of the even harmonics; 0 = hollow, as in a clarinet
    harmonics: tuple[int, ...] = tuple(range(1, MAX_HARMONICS + 1))
    vibrato: float = 0.0  # relative frequency deviation


INSTRUMENTS = {
    "piano": Instrument(8.0, 0.004, 0.9, 0.12, 0.30),
    "electric_piano": Instrument(11.0, 0.006, 1.2, 0.25, 0.35, even=0.6),
    "guitar": Instrument(7.0, 0.003, 0.6, 0.05, 0.30, even=0.8),
    "organ": Instrument(5.0, 0.012, 1.0, 0.85, 0.25, harmonics=(1, 2, 3, 4, 6, 8)),
    "strings": Instrument(6.5, 0.070, 1.0, 0.80, 0.40, vibrato=0.003),
    "flute": Instrument(13.0, 0.040, 0.5, 0.80, 0.30, vibrato=0.004),
    "clarinet": Instrument(7.0, 0.025, 0.5, 0.80, 0.25, even=0.15),
    "vibraphone": Instrument(6.0, 0.002, 1.0, 0.05, 0.50, harmonics=(1, 4, 10)),
    "celesta": Instrument(6.0, 0.002, 0.5, 0.0, 0.50, harmonics=(1, 3, 8)),
    "plucked_bass": Instrument(8.0, 0.004, 0.7, 0.2, 0.20),
    "synth_bass": Instrument(6.0, 0.008, 0.4, 0.6, 0.20, even=0.5),
}

DRUMS = ("kick", "snare", "rim", "hat", "shaker")


def render(parts: Sequence[Part], n_samples: int, sample_rate: int) -> np.ndarray:
    """Returns the sum of all parts, float32 (n_samples,) in [-1, 1].

    There is no normalisation, because loudness is a cue: levels are relative to a fixed reference,
    and a tanh limits only the peaks. Sound beyond `n_samples` is cut off.
    """
    mix = np.zeros(n_samples, np.float32)
    for part in parts:
        begin_n = np.rint(part.start_n * sample_rate).astype(int)
        gain_n = (NOMINAL_GAIN * 10 ** (part.level_n / 20)).astype(np.float32)
        step_n = np.rint(part.brightness_n / BRIGHTNESS_STEP).astype(int)
        columns = (begin_n, gain_n, part.duration_n, part.pitch_n, step_n)
        for begin, gain, duration_s, pitch, step in zip(*columns, strict=True):
            sound = _sound(part.instrument, duration_s, pitch, step, sample_rate)
            sound = sound[: max(0, n_samples - begin)]
            mix[begin : begin + len(sound)] += gain * sound
    return np.tanh(mix, out=mix)


def _sound(name: str, duration_s: float, pitch: float, step: int, sample_rate: int) -> np.ndarray:
    """Returns one hit, or one note with its release, at unit gain, float32; not to be modified."""
    if name in DRUMS:
        return _drum_sound(name, sample_rate)
    instrument = INSTRUMENTS[name]
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    n_harmonics = min(MAX_HARMONICS, int(0.5 * sample_rate / frequency))
    n_samples = int((duration_s + instrument.release_s) * sample_rate)
    capacity = 1 << n_samples.bit_length()  # few distinct lengths, so that the caches are hit

    clock = _clock(instrument.vibrato, capacity, sample_rate)[:n_samples]
    phase = (clock * (frequency * TABLE_SIZE)).astype(np.int32)
    phase &= TABLE_SIZE - 1
    sound = _wavetable(name, step, n_harmonics)[phase]
    sound *= _envelope(name, capacity, sample_rate)[:n_samples]
    release = _release(name, sample_rate)
    sound[-len(release) :] *= release
    return sound


@lru_cache(maxsize=1024)
def _wavetable(name: str, step: int, n_harmonics: int) -> np.ndarray:
    """Returns one cycle with an RMS of 1, float32 (TABLE_SIZE,), up to `n_harmonics` harmonics."""
    instrument = INSTRUMENTS[name]
    audible = [h for h in instrument.harmonics if h <= n_harmonics]
    order = np.array(audible or [1])
    tilt_db = instrument.tilt_db - 3.0 * step * BRIGHTNESS_STEP
    amplitude = 10 ** (-tilt_db * np.log2(order) / 20) * np.where(order % 2, 1.0, instrument.even)
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    # Quadratic phases spread the harmonics over the cycle: lower peaks for the same power.
    spectrum[order] = amplitude * np.exp(1j * np.pi * order**2 / len(order))
    cycle = np.fft.irfft(spectrum)
    return (cycle / np.sqrt(np.mean(cycle**2))).astype(np.float32)


@lru_cache(maxsize=64)
def _clock(vibrato: float, n_samples: int, sample_rate: int) -> np.ndarray:
    """Returns the times of the samples in s, float64 (n_samples,), modulated by the vibrato."""
    time = np.arange(n_samples) / sample_rate
    omega = 2 * np.pi * VIBRATO_HZ
    return time + vibrato / omega * (1 - np.cos(omega * time))


@lru_cache(maxsize=128)
def _envelope(name: str, n_samples: int, sample_rate: int) -> np.ndarray:
    """Returns attack and decay of a held note, float32 (n_samples,).

    Its RMS is 1 over the first half second, so that plucked and bowed instruments balance.
    """
    _, attack_s, decay_s, sustain, *_ = INSTRUMENTS[name]
    n_reference = sample_rate // 2
    time = np.arange(max(n_samples, n_reference)) / sample_rate
    envelope = sustain + (1 - sustain) * np.exp(-time / decay_s)
    envelope *= np.minimum(time / attack_s, 1)
    envelope /= np.sqrt(np.mean(envelope[:n_reference] ** 2))
    return envelope[:n_samples].astype(np.float32)


@lru_cache(maxsize=64)
def _release(name: str, sample_rate: int) -> np.ndarray:
    """Returns the fade from 1 to 0 after key up, float32."""
    n_samples = int(INSTRUMENTS[name].release_s * sample_rate)
    return np.linspace(1, 0, n_samples, dtype=np.float32) ** 2


@lru_cache(maxsize=64)
def _drum_sound(name: str, sample_rate: int) -> np.ndarray:
    """Returns one hit at unit gain, float32, 0.3 s long."""
    noise = np.random.default_rng(DRUMS.index(name)).standard_normal(int(0.3 * sample_rate))
    hiss = np.diff(noise, 2, prepend=[0.0, 0.0])  # each difference raises the treble, 6 dB/octave
    time = np.arange(len(noise)) / sample_rate
    tone = np.sin(2 * np.pi * 190 * time)
    thump = np.sin(2 * np.pi * (50 * time - 3 * np.exp(-time / 0.03)))  # falls from 150 to 50 Hz
    sound = {
        "kick": 3 * thump * np.exp(-time / 0.09),
        "snare": (0.8 * noise + tone) * np.exp(-time / 0.06),
        "rim": (0.3 * hiss + np.sin(2 * np.pi * 820 * time)) * np.exp(-time / 0.02),
        "hat": 0.4 * hiss * np.exp(-time / 0.025),
        "shaker": 0.4 * hiss * np.minimum(time / 0.02, 1) * np.exp(-time / 0.03),
    }[name]
    fade = np.minimum((time[-1] - time) / 0.05, 1)
    return (sound * fade).astype(np.float32)
