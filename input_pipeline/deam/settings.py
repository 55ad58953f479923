"""The settings of DEAM: when its audio begins, and how its songs are split."""

import dataclasses
from pathlib import Path

from input_pipeline.corpus import CorpusError, Options, shorten
from input_pipeline.splits import SongList, Split, balanced_folds, split_by_song

# Ids above 2000 are the 58 full-length songs of the MediaEval 2015 evaluation set.
LAST_CLIP_ID = 2000
PROTOCOLS = "release", "mediaeval2015", "cross_validation", "mediaeval2015_cross_validation", "all"


@dataclasses.dataclass(frozen=True)
class DeamOptions(Options):
    """Options of the DEAM builder.

    Args:
      audio_start: the second of the song at which every audio file begins; 0 for the release.
    """

    audio_start: float = 0.0


@dataclasses.dataclass(frozen=True)
class DeamSplit(Split):
    """How DEAM's songs are split.

    Args:
      protocol: 'release' trains on the 1,744 clips, 'mediaeval2015' on the 431 of the MediaEval
        2015 development set; both test on the 58 full songs. 'cross_validation' divides the 1,744
        clips into folds and tests on one of them, 'mediaeval2015_cross_validation' the 431; the
        full songs are not used. 'all' trains on all songs and tests on none, to train weights for
        prediction.
      fold: the fold of clips that is the test split, from 0; only for cross-validation.
      n_folds: number of folds of cross-validation; their sizes differ by one song at most.
      validation_fraction: share of the clips outside the test split that is used for validation.
      split_seed: determines these clips, and the folds.

    Raises:
      CorpusError: an invalid option.
    """

    protocol: str = dataclasses.field(default="release", metadata={"choices": PROTOCOLS})
    fold: int = 0
    n_folds: int = 10
    validation_fraction: float = 0.1
    split_seed: int = 0

    def __post_init__(self):
        if self.protocol not in PROTOCOLS:
            raise CorpusError(f"protocol {self.protocol!r} is not one of {', '.join(PROTOCOLS)}")
        if self.n_folds < 2:
            raise CorpusError(f"n_folds must be 2 or more, not {self.n_folds}")
        if self.split_seed < 0:
            raise CorpusError(f"split_seed {self.split_seed} is negative")
        if not self.in_folds and self.fold:
            raise CorpusError(
                f"protocol {self.protocol} has no folds, so fold must be 0, not {self.fold}"
            )
        if not 0 <= self.fold < self.n_folds:
            raise CorpusError(f"fold {self.fold} is outside 0..{self.n_folds - 1}")

    def label(self) -> str:
        return self.protocol + (f"-fold{self.fold}" if self.in_folds else "")

    def assign(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        # By labels, so that the split does not depend on which audio is available.
        return split_songs(list(songs.labelled), self)

    @property
    def of_mediaeval2015(self) -> bool:
        return self.protocol.startswith("mediaeval2015")

    @property
    def in_folds(self) -> bool:
        return self.protocol.endswith("cross_validation")


def split_songs(song_ids: list[str], options: DeamSplit) -> dict[str, str]:
    """{song id: split} of the songs that the protocol uses.

    Raises:
      CorpusError: an id is not a number, or there are too few clips for the options.
    """
    foreign = [song_id for song_id in song_ids if not song_id.isdecimal()]
    if foreign:
        raise CorpusError(f"DEAM's song ids are numbers, not {shorten(foreign)}")
    clips = [song_id for song_id in song_ids if int(song_id) <= LAST_CLIP_ID]
    if options.of_mediaeval2015:
        development = mediaeval2015_ids()
        clips = [song_id for song_id in clips if song_id in development]
    test = [song_id for song_id in song_ids if int(song_id) > LAST_CLIP_ID]
    if options.protocol == "all":
        clips, test = song_ids, []
    seed = options.split_seed
    if options.in_folds:
        if len(clips) < options.n_folds:
            raise CorpusError(f"n_folds {options.n_folds}: there are only {len(clips)} clips")
        test = balanced_folds(dict.fromkeys(clips, 1.0), options.n_folds, seed=seed)[options.fold]
        # Each fold draws its own validation songs: with one order for all folds, the first songs
        # would never be used for training.
        seed = seed * options.n_folds + options.fold
    fractions = {"validation": options.validation_fraction}
    split_of = split_by_song(set(clips) - set(test), fractions, seed=seed)
    return split_of | dict.fromkeys(test, "test")


def mediaeval2015_ids() -> frozenset[str]:
    """The 431 clips of the MediaEval 2015 development set (see mediaeval2015_ids.txt)."""
    text = Path(__file__).with_name("mediaeval2015_ids.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return frozenset(" ".join(lines).split())


OPTIONS, SPLIT = DeamOptions, DeamSplit
