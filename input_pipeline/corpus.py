"""What a data set is before its features are computed: songs with sources, labels and a split.

Worker processes import this file, so it imports neither TensorFlow nor JAX.
"""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from damff_jax import audio
from input_pipeline.annotations import Alignment, Labels, natural_key

SPLITS = ("train", "validation", "test")
WITHOUT_AUDIO = "labels without audio"


class CorpusError(ValueError):
    """A data set that cannot be built; the message is one line and names what is wrong."""


class Source(Protocol):
    """Where a song's sound comes from; picklable, so that a worker process can open it.

    Attributes:
      path: the file that messages name.
    """

    path: str

    def blocks(self, sample_rate: int) -> Iterator[np.ndarray]:
        """Mono float32 samples at `sample_rate`, block by block."""

    def identity(self) -> str:
        """All that decides the samples, and nothing else: not where the file lies.

        Raises:
          AudioError: the source cannot be read.
        """


@dataclasses.dataclass(frozen=True)
class AudioFile:
    path: str

    def blocks(self, sample_rate: int) -> Iterator[np.ndarray]:
        return audio.stream(self.path, sample_rate)

    def identity(self) -> str:
        return f"audio {audio.digest(self.path)}"


@dataclasses.dataclass(frozen=True)
class Song:
    song_id: str
    source: Source
    labels: Labels


@dataclasses.dataclass
class Corpus:
    """The songs of every split, and what was left out or is worth knowing.

    Attributes:
      songs: by split; splits without songs are absent.
      left_out: song ids (or other names) by the reason why they are not in `songs`.
      notes: song ids (or other names) by what was found and handled, or is worth knowing; these
        songs are in `songs`.
    """

    songs: dict[str, list[Song]]
    left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    notes: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def find_audio(directory: Path) -> dict[str, str]:
    """Audio files below a directory, by their stem.

    Raises:
      CorpusError: two files have one stem.
    """
    paths: dict[str, str] = {}
    for path in audio.find(directory):
        stem = os.path.splitext(os.path.basename(path))[0]
        if stem in paths:
            raise CorpusError(f"two audio files for song {stem}: {paths[stem]} and {path}")
        paths[stem] = path
    return paths


def assemble(
    alignment: Alignment,
    sources: Mapping[str, Source],
    split_of: Mapping[str, str],
) -> Corpus:
    """Joins labels, sources and splits by song id, and keeps account of what does not join.

    Raises:
      CorpusError: no song is left.
    """
    wanted = [song_id for song_id in alignment.labels if song_id in split_of]
    without_audio = [song_id for song_id in wanted if song_id not in sources]
    songs = collections.defaultdict(list)
    for song_id in wanted:
        if song_id in sources:
            songs[split_of[song_id]].append(
                Song(song_id, sources[song_id], alignment.labels[song_id])
            )
    if not songs:
        raise CorpusError("no song has both labels and audio")
    built = {song.song_id for split in songs.values() for song in split}
    left_out = {
        WITHOUT_AUDIO: without_audio,
        "audio without labels": [s for s in sources if s not in alignment.labels],
        "labels outside the chosen splits": [s for s in alignment.labels if s not in split_of],
        "valence labels only": alignment.valence_only,
        "arousal labels only": alignment.arousal_only,
        "no segment with both labels": alignment.unlabelled,
    }
    notes = {
        "valence and arousal of unequal length, common span kept": alignment.unequal_lengths,
        "labels missing inside the curve, masked": alignment.interior_gaps,
    }
    return Corpus(
        songs={split: songs[split] for split in SPLITS if split in songs},
        left_out={k: sorted(v, key=natural_key) for k, v in left_out.items() if v},
        notes={k: kept for k, v in notes.items() if (kept := [s for s in v if s in built])},
    )


def refuse_missing_audio(left_out: Mapping[str, Sequence[str]]) -> None:
    """Makes songs that were left out for want of audio an error.

    Raises:
      CorpusError: there are some.
    """
    if missing := left_out.get(WITHOUT_AUDIO):
        raise CorpusError(f"{len(missing)} labelled songs have no audio: {shorten(missing)}")


def split_by_song(
    song_ids: Iterable[str], fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, str]:
    """Deals songs to splits at random: {song id: split}.

    The order is that of a hash of seed and id, so it depends on neither the platform nor the order
    of the ids. Splits of `fractions` get their rounded share, at least one song if the fraction is
    positive and songs are left; 'train' gets the rest.
    """
    order = sorted(set(song_ids), key=lambda song_id: _shuffle_key(seed, song_id))
    split_of, start = {}, 0
    if sum(fractions.values()) >= 1:
        raise CorpusError(f"fractions {dict(fractions)} leave no songs for training")
    for split, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise CorpusError(f"{split} fraction {fraction} is outside [0, 1)")
        n = min(max(round(fraction * len(order)), fraction > 0), len(order) - 1 - start)
        split_of |= dict.fromkeys(order[start : start + max(n, 0)], split)
        start += max(n, 0)
    return split_of | dict.fromkeys(order[start:], "train")


def balanced_folds(weights: Mapping[str, float], k: int, *, seed: int = 0) -> list[list[str]]:
    """Deals groups to k folds of about equal total weight; the seed decides among the ways.

    Groups come in order of weight, heaviest first, each to the fold that is lightest so far.
    Weights are blurred by up to a tenth first, so that seeds differ.
    """
    if not 2 <= k <= len(weights):
        raise CorpusError(f"{k} folds asked for, and {len(weights)} groups to deal")
    rng = np.random.default_rng(seed)
    names = sorted(weights)
    blurred = dict(zip(names, rng.uniform(0.9, 1.1, len(names)), strict=True))
    folds: list[list[str]] = [[] for _ in range(k)]
    totals = [0.0] * k
    for name in sorted(names, key=lambda name: -weights[name] * blurred[name]):
        lightest = totals.index(min(totals))
        folds[lightest].append(name)
        totals[lightest] += weights[name]
    return folds


def shorten(names: Sequence[str], limit: int = 10) -> str:
    """'a, b, c' or, of more names than the limit, the first and the count of the others."""
    # A file name need not be Unicode, what is printed must.
    shown = ", ".join(names[:limit]).encode(errors="backslashreplace").decode()
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _shuffle_key(seed: int, song_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{song_id}".encode()).digest()
