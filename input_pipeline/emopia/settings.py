"""The settings of EMOPIA: its renderings, and how its clips are split."""

import dataclasses
import re
from pathlib import Path

from input_pipeline.corpus import CorpusError
from input_pipeline.midi import RenderingOptions, assign_altered, original_of
from input_pipeline.splits import SongList, Split, split_by_song

_NAME = re.compile(r"(?P<quadrant>Q[1-4])_(?P<song>.+)_(?P<clip>\d+)")


@dataclasses.dataclass(frozen=True)
class EmopiaSplit(Split):
    """How EMOPIA's clips are split, by song. There is no test split.

    Args:
      validation_fraction: share of the songs that is used for validation.
      split_seed: determines these songs.
    """

    validation_fraction: float = 0.1
    split_seed: int = 0

    def label(self) -> str:
        return "clips"

    def assign(self, songs: SongList, manual_dir: Path | None) -> dict[str, str]:
        clips = [name for name in songs.n_segments if original_of(name) == name]
        fractions = {"validation": self.validation_fraction}
        split_of_song = split_by_song(map(song_of, clips), fractions, seed=self.split_seed)
        return assign_altered(songs, {clip: split_of_song[song_of(clip)] for clip in clips})


def song_of(clip: str) -> str:
    """The song of a clip named `Q1_<song>_<number>`.

    Raises:
      CorpusError: the name does not have that form.
    """
    match = _NAME.fullmatch(clip)
    if match is None:
        raise CorpusError(f"EMOPIA's clips are named Q1_<song>_<number>, not {clip}")
    return match["song"]


OPTIONS, SPLIT = RenderingOptions, EmopiaSplit
