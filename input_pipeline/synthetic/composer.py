"""Songs with audible, changing valence and arousal, composed from a seed.

The two curves control the cues that listeners are known to use:

  arousal   tempo, loudness, brightness, note density, articulation (legato to staccato)
  valence   mode, consonance, register, rhythmic regularity

Each song also draws properties that are unrelated to its emotion: key, metre, chord progression,
melody, instruments, and offsets of tempo, loudness, brightness and register. These blur every cue,
so that several cues together predict the curves best. The cues follow the curves immediately and in
the same way in all songs; the delay and the disagreement of human raters are not simulated.

The cues, and their almost linear addition, are taken from
  A. Gabrielsson, E. Lindström, "The role of structure in the musical expression of emotions", in
    P. Juslin, J. Sloboda (eds.), Handbook of Music and Emotion, Oxford University Press, 2010.
  P. Juslin, P. Laukka, "Expression, perception, and induction of musical emotions: a review and a
    questionnaire study of everyday listening", Journal of New Music Research 33(3), 2004.
  T. Eerola, A. Friberg, R. Bresin, "Emotional expression in music: contribution, linearity, and
    additivity of primary musical cues", Frontiers in Psychology 4:487, 2013.
  D. Temperley, D. Tan, "Emotional connotations of diatonic modes", Music Perception 30(3), 2013:
    the order of the modes below.

Array dimensions: T segments of 0.5 s, n slots (sixteenths) or notes, p slots of a pattern of two
bars, 7 degrees of a scale.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from input_pipeline.synthetic.synthesizer import Part, render

SEGMENT_S = 0.5
SLOTS_PER_BEAT = 4
MIN_SAMPLE_RATE = 8000  # Hz; the highest fundamentals are near 3.5 kHz

# Semitones above the tonic, from the happiest to the darkest: Ionian, Mixolydian, Dorian, Aeolian,
# Phrygian; and the valence above which each is used. Positive valence has a major third.
MODES = np.array(
    [
        [0, 2, 4, 5, 7, 9, 11],
        [0, 2, 4, 5, 7, 9, 10],
        [0, 2, 3, 5, 7, 9, 10],
        [0, 2, 3, 5, 7, 8, 10],
        [0, 1, 3, 5, 7, 8, 10],
    ]
)
MODE_BORDERS = np.array([0.2, 0.0, -0.2, -0.6])
PROGRESSIONS = np.array([[0, 4, 5, 3], [0, 5, 3, 4], [0, 3, 0, 4], [5, 3, 0, 4], [0, 2, 3, 4]])
TO_CHORD_TONE = np.array([0, -1, 0, -1, 0, -1, 1])  # steps from (degree - root) mod 7 to the triad


class Composition(NamedTuple):
    """A composed song: samples, and the curves they follow; segment i is [0.5 i, 0.5 i + 0.5) s."""

    samples: np.ndarray  # float32 (n,) in [-1, 1]
    valence: np.ndarray  # float32 (T,)
    arousal: np.ndarray  # float32 (T,)


class Style(NamedTuple):
    """Properties of a song that are constant, and unrelated to its emotion."""

    tonic: int  # semitones above C
    beats_per_bar: int
    progression: np.ndarray  # (4,) scale degrees, one chord a bar
    contour_p: np.ndarray  # melody, scale steps around its register
    priority_p: np.ndarray  # in [0, 1]; a slot sounds where this is below a part's density
    tempo_factor: float
    gain_db: float
    drum_gain_db: float
    density: float  # added to the density of every part
    legato: float  # length of a note relative to the distance to the next
    brightness: float
    register: float  # semitones
    melody: str
    double: str
    chords: str
    bass: str
    snare: str
    hat: str


class Grid(NamedTuple):
    """The slots of a song in time, and the harmony and emotion at each."""

    time_n: np.ndarray  # s
    slot_n: np.ndarray  # index into a pattern of two bars
    root_n: np.ndarray  # scale degree of the chord
    scale_n7: np.ndarray  # semitones above the tonic
    valence_n: np.ndarray
    arousal_n: np.ndarray


def draw_curves(rng: np.random.Generator, n_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws smooth, independent curves of valence and arousal, each float32 (T,) in [-0.9, 0.9].

    Each has its own level (std between songs about 0.35) and moves around it in waves of 10 to 50 s
    (std within a song about 0.15).
    """
    n_waves = 6
    period_s = np.exp(rng.uniform(np.log(10), np.log(50), (2, 1, n_waves)))
    phase = rng.uniform(0, 2 * np.pi, (2, 1, n_waves))
    time_T1 = SEGMENT_S * np.arange(n_segments)[:, None]
    waves_2T = np.sin(2 * np.pi * time_T1 / period_s + phase).sum(-1) * np.sqrt(2 / n_waves)
    curves_2T = rng.uniform(-0.75, 0.75, (2, 1)) + 0.19 * waves_2T
    valence_T, arousal_T = (0.9 * np.tanh(curves_2T / 0.9)).astype(np.float32)
    return valence_T, arousal_T


def compose_song(
    seed: int,
    *,
    duration_s: float,
    sample_rate: int = 44100,
    valence: np.ndarray | None = None,
    arousal: np.ndarray | None = None,
) -> Composition:
    """Composes and synthesises the song of a seed; the same arguments give the same bytes.

    Args:
        seed: Not negative. It also determines style and noise when curves are given, so that the
            same piece can be composed with other emotions.
        duration_s: A positive multiple of 0.5 s.
        sample_rate: Integer, in Hz, at least 8000.
        valence: (T,) in [-1, 1] with T = 2 * duration_s, used unchanged; None to draw it.
        arousal: The same.

    Raises:
        ValueError: An invalid argument; the message names it.
    """
    n_segments = round(duration_s / SEGMENT_S) if np.isfinite(duration_s) else 0
    if n_segments < 1 or n_segments * SEGMENT_S != duration_s:
        raise ValueError(f"duration_s must be a positive multiple of {SEGMENT_S}, got {duration_s}")
    if sample_rate < MIN_SAMPLE_RATE:
        raise ValueError(f"sample_rate must be at least {MIN_SAMPLE_RATE} Hz, got {sample_rate}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    curve_rng, style_rng, note_rng = np.random.default_rng(seed).spawn(3)
    drawn_valence, drawn_arousal = draw_curves(curve_rng, n_segments)
    valence_T = drawn_valence if valence is None else _checked("valence", valence, n_segments)
    arousal_T = drawn_arousal if arousal is None else _checked("arousal", arousal, n_segments)
    parts = compose_parts(draw_style(style_rng), valence_T, arousal_T, note_rng)
    samples = render(list(parts.values()), round(duration_s * sample_rate), sample_rate)
    return Composition(samples, valence_T, arousal_T)


def _checked(name: str, curve: np.ndarray, n_segments: int) -> np.ndarray:
    curve_T = np.array(curve, np.float32)
    if curve_T.shape != (n_segments,):
        raise ValueError(f"{name} must have shape ({n_segments},), got {curve_T.shape}")
    if not np.all(np.abs(curve_T) <= 1):  # also false for NaN
        raise ValueError(f"{name} must lie within [-1, 1], without NaN")
    return curve_T


def draw_style(rng: np.random.Generator) -> Style:
    """Draws the constant properties of a song."""
    beats = int(rng.choice([3, 4, 4]))
    slot_p = np.arange(2 * beats * SLOTS_PER_BEAT)
    depth_p = np.where(slot_p % 4, np.where(slot_p % 2, 3, 2), 1)  # beats, eighths, sixteenths
    return Style(
        tonic=int(rng.integers(12)),
        beats_per_bar=beats,
        progression=rng.choice(PROGRESSIONS),
        contour_p=np.clip(np.cumsum(rng.integers(-1, 2, slot_p.size)), -4, 4),
        priority_p=(depth_p + rng.random(slot_p.size)) / 4,
        tempo_factor=float(np.exp(rng.uniform(-0.15, 0.15))),
        gain_db=float(rng.uniform(-2.5, 2.5)),
        drum_gain_db=float(rng.uniform(-4, 4)),
        density=float(rng.uniform(-0.05, 0.05)),
        legato=float(rng.uniform(0.7, 0.85)),
        brightness=float(rng.uniform(-0.4, 0.4)),
        register=float(rng.uniform(-2, 2)),
        melody=str(rng.choice(["piano", "guitar", "flute", "clarinet", "vibraphone", "strings"])),
        double=str(rng.choice(["celesta", "vibraphone", "flute"])),
        chords=str(rng.choice(["piano", "electric_piano", "organ", "strings"])),
        bass=str(rng.choice(["plucked_bass", "synth_bass"])),
        snare=str(rng.choice(["snare", "rim"])),
        hat=str(rng.choice(["hat", "shaker"])),
    )


def _lay_grid(
    style: Style, valence_T: np.ndarray, arousal_T: np.ndarray, rng: np.random.Generator
) -> Grid:
    """Spreads sixteenths over the song.

    Arousal sets the tempo, about 50 to 165 beats/min. Low valence shifts the slots randomly by up
    to 0.3 of their distance, for all parts alike, so that the rhythm is uneven but the parts stay
    together.
    """
    border_T1 = SEGMENT_S * np.arange(len(arousal_T) + 1)
    slots_per_s = SLOTS_PER_BEAT * style.tempo_factor * 92 / 60 * 2 ** (0.75 * arousal_T)
    passed_T1 = np.concatenate([[0.0], np.cumsum(SEGMENT_S * slots_per_s)])
    index_n = np.arange(int(np.ceil(passed_T1[-1])))
    time_n = np.interp(index_n, passed_T1, border_T1)
    middle_T = border_T1[:-1] + SEGMENT_S / 2
    valence_n = np.interp(time_n, middle_T, valence_T)

    slots_per_bar = SLOTS_PER_BEAT * style.beats_per_bar
    bar_n = index_n // slots_per_bar
    mode_n = (valence_n[bar_n * slots_per_bar, None] < MODE_BORDERS).sum(1)  # changes with the bar
    shake_n = 0.15 * (1 - valence_n) * rng.uniform(-1, 1, len(index_n))
    return Grid(
        time_n=np.interp(index_n + shake_n, passed_T1, border_T1),
        slot_n=index_n % (2 * slots_per_bar),
        root_n=style.progression[bar_n % len(style.progression)],
        scale_n7=MODES[mode_n],
        valence_n=valence_n,
        arousal_n=np.interp(time_n, middle_T, arousal_T),
    )


def compose_parts(
    style: Style, valence_T: np.ndarray, arousal_T: np.ndarray, rng: np.random.Generator
) -> dict[str, Part]:
    """Writes the notes of a song for two curves (T,) in [-1, 1]; `rng` perturbs the rhythm.

    Returns the parts by name: melody and its octaves above and below; root, third and fifth, each
    with a copy such as root_mistuned; clash (the minor second); bass, kick, snare, hat.
    """
    grid = _lay_grid(style, valence_T, arousal_T, rng)
    arranger = _Arranger(style, grid, rng, end_s=SEGMENT_S * len(valence_T))
    return arranger.melody() | arranger.chords() | arranger.bass_and_drums()


@dataclasses.dataclass(frozen=True)
class _Arranger:
    """Writes the parts of a song on its grid, one after the other, because they share `rng`."""

    style: Style
    grid: Grid
    rng: np.random.Generator
    end_s: float

    @property
    def loud_n(self) -> np.ndarray:
        return self.style.gain_db + 10 * self.grid.arousal_n

    def melody(self) -> dict[str, Part]:
        """The melody, doubled above and below: their balance shifts the register with valence."""
        style, grid, loud_n = self.style, self.grid, self.loud_n
        v_n = grid.valence_n
        centre_n = 71 + style.register + 12 * v_n
        index_n = np.rint((centre_n - style.tonic) * 7 / 12).astype(int)
        index_n += style.contour_p[grid.slot_n]
        to_triad_n = TO_CHORD_TONE[(index_n - grid.root_n) % 7]
        on_beat_n = grid.slot_n % SLOTS_PER_BEAT == 0
        melody_n = self._degree(index_n + np.where(on_beat_n, to_triad_n, 0))
        on_n = self._sounding(0.55 + 0.28 * grid.arousal_n)
        return {
            "melody": self._play(style.melody, on_n, melody_n, loud_n),
            "above": self._play(style.double, on_n, melody_n + 12, loud_n - 8 + 15 * v_n),
            "below": self._play(style.melody, on_n, melody_n - 12, loud_n - 8 - 15 * v_n),
        }

    def chords(self) -> dict[str, Part]:
        """Chords; low valence adds mistuned copies (slow beats) and a minor second (roughness)."""
        style, grid, loud_n = self.style, self.grid, self.loud_n
        v_n = grid.valence_n
        on_n = self._sounding(0.42 + 0.22 * grid.arousal_n)
        centre_n = 59 + style.register + 12 * v_n
        mistuned_level_n = loud_n - 4 + _fade_db(0.4 - 0.6 * v_n)
        parts = {}
        for i, name in enumerate(("root", "third", "fifth")):
            pitch_n = _near(self._degree(grid.root_n + 2 * i), centre_n)
            parts[name] = self._play(style.chords, on_n, pitch_n, loud_n - 4)
            parts[f"{name}_mistuned"] = self._play(
                style.chords, on_n, pitch_n + 0.25, mistuned_level_n
            )
        clash_n = _near(self._degree(grid.root_n), centre_n) + 1
        clash_level_n = loud_n - 3 + _fade_db(0.2 - 0.8 * v_n)
        parts["clash"] = self._play(style.chords, on_n, clash_n, clash_level_n)
        return parts

    def bass_and_drums(self) -> dict[str, Part]:
        """Bass and drums; the drums are softer in calm music."""
        style, grid, loud_n = self.style, self.grid, self.loud_n
        a_n = grid.arousal_n
        bass_n = _near(self._degree(grid.root_n), 40 + style.register / 2 + 6 * grid.valence_n)
        bass = self._play(style.bass, self._sounding(0.42 + 0.22 * a_n), bass_n, loud_n)
        level_n = loud_n + style.drum_gain_db - 6 + 6 * a_n
        beat_n = grid.slot_n % (SLOTS_PER_BEAT * style.beats_per_bar) // SLOTS_PER_BEAT
        # The snare on the other beats.
        strong_n = beat_n % 2 == 0 if style.beats_per_bar == 4 else beat_n == 0
        kick_n = self._sounding(0.45 + 0.2 * a_n) & strong_n
        snare_n = self._sounding(0.45 + 0.2 * a_n) & ~strong_n
        hat_n = self._sounding(0.6 + 0.4 * a_n)
        return {
            "bass": bass,
            "kick": self._play("kick", kick_n, bass_n, level_n + 3),
            "snare": self._play(style.snare, snare_n, bass_n, level_n),
            "hat": self._play(style.hat, hat_n, bass_n, level_n - 4),
        }

    def _sounding(self, density_n: np.ndarray) -> np.ndarray:
        """The slots in which a part sounds: metrically strong ones first; low valence moves some.

        A moved slot gets the priority of a random other one, so that the density is unchanged.
        """
        style, grid, v_n = self.style, self.grid, self.grid.valence_n
        first_n = grid.slot_n % (SLOTS_PER_BEAT * style.beats_per_bar) == 0
        misplaced_n = self.rng.random(v_n.size) < 0.3 * (1 - v_n)
        any_n = self.rng.choice(style.priority_p, v_n.size)
        priority_n = np.where(misplaced_n, any_n, style.priority_p[grid.slot_n])
        return first_n | (priority_n < density_n + style.density)  # every bar has its first beat

    def _play(
        self, instrument: str, on_n: np.ndarray, pitch_n: np.ndarray, level_n: np.ndarray
    ) -> Part:
        """Gathers the slots of a part into notes, shorter and brighter with arousal."""
        style, grid = self.style, self.grid
        on_n = on_n & (level_n > self.loud_n - 30)  # leaves out inaudible notes
        start_n, a_n = grid.time_n[on_n], grid.arousal_n[on_n]
        gap_n = np.minimum(np.diff(start_n, append=self.end_s), 4.0)
        return Part(
            instrument,
            start_n=start_n,
            duration_n=gap_n * (style.legato - 0.27 * a_n),
            pitch_n=pitch_n[on_n],
            level_n=level_n[on_n],
            brightness_n=style.brightness + 1.8 * a_n,
        )

    def _degree(self, index_n: np.ndarray) -> np.ndarray:
        """Semitones above C of a scale degree; 7 degrees are an octave."""
        octave_n, step_n = np.divmod(index_n, 7)
        in_scale_n = np.take_along_axis(self.grid.scale_n7, step_n[:, None], axis=1)[:, 0]
        return self.style.tonic + 12 * octave_n + in_scale_n


def _near(pitch_n: np.ndarray, centre_n: np.ndarray) -> np.ndarray:
    """The same pitch class in the octave around a centre."""
    return pitch_n + 12 * np.rint((centre_n - pitch_n) / 12)


def _fade_db(weight_n: np.ndarray) -> np.ndarray:
    """Level in dB of an amplitude; weights below 0.01 are inaudible."""
    return 20 * np.log10(np.clip(weight_n, 0.01, 1))
