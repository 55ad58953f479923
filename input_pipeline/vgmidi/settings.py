"""The settings of VGMIDI: its renderings, and how its pieces are split by game."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.corpus import CorpusError
from input_pipeline.midi import RenderingOptions, assign_altered, original_of
from input_pipeline.splits import SongList, Split, balanced_folds, split_by_song

# Three folds by game of about equal playing time; fold k is the test split of run k.
DEFAULT_FOLDS = (
    (
        "Age of Empires",
        "Age of Empires II The Age of Kings",
        "Donkey Kong Country 2 Diddy's Kong Quest",
        "Final Fantasy VII",
        "Tetris",
        "The Legend of Zelda Majora's Mask",
        "World of Warcraft Warlords of Draenor",
    ),
    (
        "Aion Tower of Eternity",
        "Battle of Olympus",
        "Ghosts 'n Goblins",
        "Indiana Jones and the Last Crusade",
        "Shadow of the Colossus",
        "Super Mario 64",
        "The Sims",
        "Warcraft II",
        "World of Warcraft Wrath of the Lich King",
    ),
    (
        "Chrono Trigger",
        "GoldenEye 007",
        "Indiana Jones and the Fate of Atlantis",
        "Super Mario Bros",
        "Super Mario World",
        "The Legend of Zelda Ocarina of Time",
        "Warcraft III Reign of Chaos",
        "Xenogears",
    ),
)


@dataclasses.dataclass(frozen=True)
class VgmidiSplit(Split):
    """How VGMIDI's pieces are split, by game. Altered renderings are for training only.

    Args:
      fold: the fold of games that is the test split, from 0; -1 for no test split.
      n_folds: 0 for the three default folds; any other number of folds is drawn from the seed.
      validation_fraction: share of the other games that is used for validation.
      split_seed: determines the validation games, and the folds unless they are the default.
    """

    fold: int = 0
    n_folds: int = 0
    validation_fraction: float = 0.15
    split_seed: int = 0

    def label(self) -> str:
        return f"fold{self.fold}" if self.fold >= 0 else "all"

    def assign(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        pieces = {s: n for s, n in songs.n_segments.items() if original_of(s) == s}
        durations = {song_id: SEGMENT_SECONDS * n for song_id, n in pieces.items()}
        # A piece without a MIDI file has no duration and so no fold; it counts as a training piece.
        missing = dict.fromkeys(set(songs.labelled) - songs.n_segments.keys(), "train")
        return missing | assign_altered(songs, split_pieces(durations, self))


def split_pieces(durations: Mapping[str, float], options: VgmidiSplit) -> dict[str, str]:
    """{piece: split}; all pieces of a game are in one split."""
    seconds: dict[str, float] = collections.defaultdict(float)
    for song_id, duration in durations.items():
        seconds[game_of(song_id)] += duration
    if options.n_folds:
        folds: Sequence[Sequence[str]] = balanced_folds(
            seconds, options.n_folds, seed=options.split_seed
        )
    else:
        folds = DEFAULT_FOLDS
        # Games that are not in the default folds are distributed, so that none is lost.
        known = {game for fold in folds for game in fold}
        others = sorted(seconds.keys() - known)
        folds = [(*fold, *others[k :: len(folds)]) for k, fold in enumerate(folds)]
    if not -1 <= options.fold < len(folds):
        raise CorpusError(f"fold {options.fold} is outside 0..{len(folds) - 1}, and not -1")
    test_games = set(folds[options.fold] if options.fold >= 0 else ())
    training_games = [game for game in seconds if game not in test_games]
    fractions = {"validation": options.validation_fraction}
    split_of_game = split_by_song(training_games, fractions, seed=options.split_seed)
    split_of_game |= dict.fromkeys(test_games, "test")
    return {song_id: split_of_game[game_of(song_id)] for song_id in durations}


def game_of(song_id: str) -> str:
    """The game of a piece: the second-to-last field of `series_console_game_piece`."""
    fields = song_id.split("_")
    return fields[-2] if len(fields) > 1 else song_id


OPTIONS, SPLIT = RenderingOptions, VgmidiSplit
