"""Parts of a data set's songs, so that several machines compute its features.

Each machine fills the cache of features with its part. The build afterwards finds all features
there, and writes the shards that it would have written alone.

Command lines are checked with this, so it imports neither TensorFlow nor JAX.
"""

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from damff_jax.audio import AudioError
from input_pipeline.extraction import pool

if TYPE_CHECKING:
    from input_pipeline.base import SongBuilder


@dataclasses.dataclass(frozen=True)
class Part:
    """Part `index` (from 0) of `count`: every `count`-th song."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """A part from text such as `0/4`.

        Raises:
          ValueError: there is no such part.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if match is None or not int(match[1]) < int(match[2]):
            raise ValueError(f"{text!r} is not I/N with I from 0 to N − 1, such as 0/4")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


class Outcome(NamedTuple):
    """What became of a part: the number of songs done, and the reasons of the failed, by id."""

    n_songs: int
    failed: dict[str, str]


def extract_part(
    builder: "SongBuilder",
    part: Part,
    manual_dir: Path | None,
    *,
    workers: int = 1,
    progress: bool = False,
) -> Outcome:
    """Computes the features of a part of the songs, unless they are in the cache.

    Several machines may do this at a time in one folder.

    Args:
      builder: its `split`, `require_all` and `needed_splits` are checked as in a build.
      manual_dir: folder of the user's files; None for data sets that need none.
      workers: processes; 1 computes the features in this one.

    Raises:
      AudioError: a song cannot be read, and all are required.
      CorpusError, LabelError: see `SongBuilder.planned`.
      OSError: the cache cannot be written to.
    """
    with pool(workers) if workers > 1 else contextlib.nullcontext() as builder.executor:
        corpus, _ = builder.planned(manual_dir)
        songs = corpus.songs[part.index :: part.count]
        extracted = builder.cache.extract_all(songs, builder.features, builder.executor)
        bar = tqdm(extracted, f"part {part}", len(songs), unit="song", disable=not progress)
        failed = {}
        for song, result in bar:
            if not isinstance(result, AudioError):
                continue
            if builder.require_all:
                raise result
            failed[song.song_id] = str(result)
    return Outcome(len(songs) - len(failed), failed)
