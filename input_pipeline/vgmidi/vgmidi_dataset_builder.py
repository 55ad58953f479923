"""VGMIDI: piano arrangements of game music with people's continuous ratings (see README.md)."""

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.annotations import Alignment, LabelError, Labels
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, CorpusError, assemble
from input_pipeline.midi import (
    MidiFile,
    RenderingOptions,
    add_altered,
    deal_altered,
    find_soundfonts,
    midi_seconds,
    original_of,
    rendering_notes,
)
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
_OTHER_LENGTH = "annotations of another length than their piece"
_UNRATED = "pieces without ratings"


@dataclasses.dataclass(frozen=True)
class VgmidiSplit(Split):
    """How VGMIDI's pieces are split, by game. Altered renderings are for training alone.

    Args:
      fold: the fold of games that is the test split, from 0; -1 for no test split.
      n_folds: 0 for the three default folds; any other number of folds is dealt from the seed.
      validation_fraction: share of the other games' pieces, by game, kept for validation.
      split_seed: decides the validation games, and the folds if they are not the default.
    """

    fold: int = 0
    n_folds: int = 0
    validation_fraction: float = 0.15
    split_seed: int = 0

    def label(self) -> str:
        return f"fold{self.fold}" if self.fold >= 0 else "all"

    def deal(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        pieces = {s: n for s, n in songs.n_segments.items() if original_of(s) == s}
        durations = {song_id: SEGMENT_SECONDS * n for song_id, n in pieces.items()}
        # A piece without a MIDI file has no duration, so no fold; it is wanted for training.
        missing = dict.fromkeys(set(songs.labelled) - songs.n_segments.keys(), "train")
        return missing | deal_altered(songs, split_pieces(durations, self))


class Builder(SongBuilder):
    """The labelled part of the VGMIDI repository, rendered by fluidsynth."""

    OPTIONS = RenderingOptions
    SPLIT = VgmidiSplit
    SOUND_FILES = ("*.mid",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Clone https://github.com/lucasnfe/vgmidi and give the clone (it holds the folder "
        "'labelled') as manual_dir. Rendering needs fluidsynth and a soundfont; Debian: "
        "apt-get install fluidsynth timgm6mb-soundfont"
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        return vgmidi_corpus(manual_dir, self.options)


def vgmidi_corpus(manual_dir: Path, options: RenderingOptions) -> Corpus:
    """Reads the repository's layout.

    Raises:
      CorpusError, LabelError: it is not as described, or fluidsynth or a soundfont is missing.
    """
    soundfonts = find_soundfonts()
    pieces, left_out = read_pieces(manual_dir / "labelled" / "annotations")
    folder = manual_dir / "labelled" / "midi"
    sources, labels = {}, {}
    for song_id, values_NxV in pieces.items():
        path = folder / f"{song_id}.mid"
        if not path.is_file():
            # Its length is not known without the MIDI file: count it, with labels of no length.
            labels[song_id] = labels_of(values_NxV, SEGMENT_SECONDS)
            continue
        sources[song_id] = MidiFile(str(path), soundfonts[0], midi_seconds(path))
    add_altered(sources, soundfonts, renderings=options.renderings, seed=options.rendering_seed)
    for name, source in sources.items():
        labels[name] = labels_of(pieces[original_of(name)], source.duration_s)
    corpus = assemble(Alignment(labels, [], [], [], [], []), sources)
    corpus.left_out |= left_out
    corpus.notes |= rendering_notes(sources)
    return corpus


def read_pieces(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Mean ratings (n, 2), valence and arousal, by the MIDI file's stem; and what was left out.

    Raises:
      CorpusError, LabelError: a file is missing or malformed.
    """
    ratings, left_out = read_ratings(folder)
    return {song_id: np.mean(x, axis=0) for song_id, x in ratings.items()}, left_out


def read_ratings(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Ratings (raters, n, 2), valence and arousal, by the MIDI file's stem; what was left out.

    Raises:
      CorpusError, LabelError: a file is missing or malformed.
    """
    paths = sorted(folder.glob("vgmidi_raw_*.json"))
    if not paths:
        raise CorpusError(f"{folder}: no vgmidi_raw_*.json in it")
    pieces: dict[str, np.ndarray] = {}
    left_out: dict[str, list[str]] = collections.defaultdict(list)
    for path in paths:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            by_piece = collections.defaultdict(list)
            for name, annotation in content["annotations"].items():
                by_piece[name.rsplit("_", 1)[0]].append((name, annotation))
            for key, piece in content["pieces"].items():
                song_id, ratings = Path(piece["midi"]).stem, []
                for name, annotation in by_piece[key]:
                    values_VxN = [annotation["valence"], annotation["arousal"]]
                    if any(len(values) != piece["measures"] for values in values_VxN):
                        left_out[_OTHER_LENGTH].append(f"{path.name}:{name}")
                        continue
                    ratings.append(np.array(values_VxN, np.float64).T)
                    if not np.all(np.abs(ratings[-1]) <= 1):
                        raise LabelError(f"{path}: {name}: a rating is outside [-1, 1]")
                if song_id in pieces:
                    raise LabelError(f"{path}: {song_id} occurs twice")
                if not ratings or not piece["measures"]:
                    left_out[_UNRATED].append(f"{path.name}:{key}")
                    continue
                pieces[song_id] = np.stack(ratings)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LabelError(f"{path}: not a JSON file ({error})") from error
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, LabelError):
                raise
            raise LabelError(f"{path}: not in VGMIDI's form ({error!r})") from error
    return pieces, dict(left_out)


def labels_of(values_NxV: np.ndarray, duration_s: float) -> Labels:
    """Ratings of n equal parts of a piece's playing time, as labels of its segments.

    A segment takes the rating of the part that its middle falls into.
    """
    n_segments = max(int(duration_s / SEGMENT_SECONDS), 1)
    middles_T = SEGMENT_SECONDS * (np.arange(n_segments) + 0.5)
    parts_T = (middles_T / duration_s * len(values_NxV)).astype(int)
    values_TxV = values_NxV[np.minimum(parts_T, len(values_NxV) - 1)].astype(np.float32)
    return Labels(0, values_TxV, np.ones_like(values_TxV, bool))


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
        # Games beyond those of the default folds are shared out, so that none is lost.
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
