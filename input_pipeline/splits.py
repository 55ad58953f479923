"""Splits into training, validation and test songs: lists of song ids over one set of shards.

The shards of a data set hold all its songs, independently of the split, so ten folds take the disk
space of one.
"""

import abc
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from damff_jax.songs import SPLITS
from input_pipeline.annotations import natural_key
from input_pipeline.corpus import WITHOUT_AUDIO, CorpusError, shorten


@dataclasses.dataclass(frozen=True)
class SongList:
    """The songs of a data set.

    Attributes:
      labelled: ids of all songs with labels, with or without audio.
      n_segments: number of labelled segments within the audio, by song id; only songs with some.
    """

    labelled: tuple[str, ...]
    n_segments: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Split(abc.ABC):
    """How songs are split; a data set's subclass adds the settings and implements `assign`."""

    def label(self) -> str:
        """A short, readable name for the settings."""
        return "songs"

    @abc.abstractmethod
    def assign(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        """{song id: split}. Unused songs are absent; songs without audio may be included.

        Args:
          manual_dir: the folder of the user's files, if it is known.

        Raises:
          CorpusError: the settings are not possible with these songs.
        """


@dataclasses.dataclass(frozen=True)
class DrawnSplit(Split):
    """Songs drawn at random for validation and test: the default of a data set.

    Args:
      validation_fraction, test_fraction: shares of the songs.
      split_seed: determines the draw.
    """

    validation_fraction: float = 0.15
    test_fraction: float = 0.15
    split_seed: int = 0

    def label(self) -> str:
        return "drawn"

    def assign(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        # Only songs with audio are drawn, so that no split becomes empty by chance.
        fractions = {"validation": self.validation_fraction, "test": self.test_fraction}
        split_of = split_by_song(songs.n_segments, fractions, seed=self.split_seed)
        return dict.fromkeys(songs.labelled, "train") | split_of


def song_ids_by_split(
    split: Split, songs: SongList, manual_dir: Path | None
) -> dict[str, tuple[str, ...]]:
    """The songs in the shards by split, in natural order; splits without songs are absent.

    Raises:
      CorpusError: see `Split.assign`, or no song is left.
    """
    split_of = split.assign(songs, manual_dir)
    by_split = {
        name: tuple(
            sorted((s for s in songs.n_segments if split_of.get(s) == name), key=natural_key)
        )
        for name in SPLITS
    }
    by_split = {name: song_ids for name, song_ids in by_split.items() if song_ids}
    if not by_split:
        raise CorpusError(f"no song with audio is in the split {split}")
    return by_split


def summary(counts: Mapping[str, tuple[int, int]]) -> str:
    """The numbers of songs and segments, a line per split."""
    return "\n".join(
        f"  {split:<10} {n_songs:5d} songs  {n_segments:7d} segments"
        for split, (n_songs, n_segments) in counts.items()
    )


def refuse_unscored(
    needed: Iterable[str], by_split: Mapping[str, Sequence[str]], n_labelled: int
) -> None:
    """Checks that at least one of the needed splits has songs.

    Args:
      needed: names of splits; none: nothing is checked.
      by_split: the songs of the splits that have some.
      n_labelled: number of all songs with labels.

    Raises:
      CorpusError: none of them has songs.
    """
    needed = tuple(needed)
    if not needed or by_split.keys() & set(needed):
        return
    has = ", ".join(f"{name} ({len(ids)})" for name, ids in by_split.items())
    n_audible = sum(map(len, by_split.values()))
    raise CorpusError(
        f"none of the splits {', '.join(needed)}, which shall be evaluated, has songs with audio: "
        f"{n_audible} of {n_labelled} labelled songs have audio and are used, in {has}; add audio "
        "files, choose another way to split with config.data.options, or set "
        f"--config.data.eval_splits=\"('{next(iter(by_split))}',)\""
    )


def refuse_missing_audio(split_of: Mapping[str, str], left_out: Mapping[str, list[str]]) -> None:
    """Checks that no song of the split was left out because its audio is missing.

    Raises:
      CorpusError: there are such songs.
    """
    if missing := [song_id for song_id in left_out.get(WITHOUT_AUDIO, ()) if song_id in split_of]:
        raise CorpusError(f"{len(missing)} labelled songs have no audio: {shorten(missing)}")


def digest(song_ids: Mapping[str, Iterable[str]]) -> str:
    """Eight hexadecimal digits that identify the songs of every split."""
    text = json.dumps({name: list(ids) for name, ids in song_ids.items()}, sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]


def split_by_song(
    song_ids: Iterable[str], fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, str]:
    """Assigns songs to splits at random: {song id: split}.

    Songs are ordered by a hash of seed and id, so the result depends neither on the platform nor on
    the order of the ids. Splits of `fractions` get their rounded share, but at least one song if
    the fraction is positive and songs are left; 'train' gets the rest.
    """
    order = sorted(set(song_ids), key=lambda song_id: _shuffle_key(seed, song_id))
    split_of: dict[str, str] = {}
    start = 0
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
    """Assigns groups to k folds of about equal total weight; the seed selects one of many ways.

    Groups are assigned in order of weight, heaviest first, each to the fold that is lightest so
    far. For the order, weights are randomly changed by up to a tenth, so that seeds differ.
    """
    if not 2 <= k <= len(weights):
        raise CorpusError(f"{k} folds are not possible with {len(weights)} groups")
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


def _shuffle_key(seed: int, song_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{song_id}".encode()).digest()
