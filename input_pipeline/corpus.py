"""A data set before its features are computed: songs with sources and labels.

Worker processes import this file, so it imports neither TensorFlow nor JAX.
"""

import dataclasses
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from damff_jax import audio
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.system import folders
from input_pipeline.annotations import Alignment, Labels, natural_key

WITHOUT_AUDIO = "labels without audio"
UNHEARD = "no labelled segment within the audio"
UNLISTED = "folders that cannot be listed"
_NOT_AUDIO = "files of songs without audio, not audio by their names"


class CorpusError(ValueError):
    """A data set cannot be built; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings that, together with its files, determine a data set's songs.

    The fields of a builder's subclass become flags of the command line, like those of its `Split`.
    """


class Source(Protocol):
    """The source of a song's sound; picklable, so that worker processes can open it.

    Attributes:
      path: the file to name in messages.
    """

    @property
    def path(self) -> str: ...

    def blocks(self, sample_rate: int) -> Iterator[np.ndarray]:
        """Mono float32 samples at `sample_rate`, block by block."""

    def identity(self) -> str:
        """Text that identifies the samples: all that determines them, but not the file's location.

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
class Recording:
    """A song with its sound and labels.

    Attributes:
      audio_start: the second of the song at which its source begins.
      labels: none of them earlier than that.
    """

    song_id: str
    source: Source
    labels: Labels
    audio_start: float = 0.0


@dataclasses.dataclass(frozen=True)
class Failure:
    """A song that cannot be built, because its file cannot be read.

    Attributes:
      path: the file.
      reason: one line, which names the file.
    """

    path: str
    reason: str


class Sources(dict[str, Source]):
    """Sources by song id, and what else was found where they were searched.

    Attributes:
      left_out: folders that could not be searched, by the reason.
      others: files that are not audio by their names, by what would be their song id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, list[str]] = {}
        self.others: dict[str, str] = {}


@dataclasses.dataclass
class Corpus:
    """All songs of a data set, what was left out, and notes.

    Attributes:
      songs: those with labels and audio.
      labelled: ids of all songs with labels.
      failed: songs with labels whose files cannot be read, by id.
      left_out: song ids (or other names) by the reason why they are not in `songs`.
      notes: song ids (or other names) by what was found or done; these songs are in `songs`.
      n_before: number of labelled segments before the start of the audio, which were cut off.
    """

    songs: list[Recording]
    labelled: list[str]
    failed: dict[str, Failure] = dataclasses.field(default_factory=dict)
    left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    notes: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    n_before: int = 0

    def sounds(self, directory: str | os.PathLike) -> list[str]:
        """Paths, relative to a directory, of the files that decide what is built; sorted."""
        paths = [song.source.path for song in self.songs]
        paths += [failure.path for failure in self.failed.values()]
        return sorted({os.path.relpath(path, directory) for path in paths})


def find_sources(directory: Path, pattern: str = "{song_id}.*") -> Sources:
    """Audio files below a directory as sources of songs, see `assemble`.

    Links to folders are followed; hidden files are not found. Ids are in Unicode's composed form,
    as in `annotations.canonical_id`, whatever form the files' names have.

    Args:
      pattern: the end of their paths, such as `chorus/{song_id}.mp3`; `*` matches any text within a
        name. Case is ignored.

    Raises:
      CorpusError: two files have the same id.
    """
    ending = re.escape(pattern).replace(r"\{song_id\}", "([^/]+)").replace(r"\*", "[^/]*")
    # Song ids may contain any character, such as a line break.
    regex = re.compile(f"(?:.*/)?{ending}", re.DOTALL | re.IGNORECASE)
    sources = Sources()

    def unreadable(folder: str, reason: str) -> None:
        sources.left_out.setdefault(UNLISTED, []).append(f"{folder} ({reason})")

    for root, names in folders.walk(directory, unreadable):
        for name in names:
            path = os.path.join(root, name)
            match = regex.fullmatch(Path(os.path.relpath(path, directory)).as_posix())
            if match is None or name.startswith("."):
                continue
            song_id = unicodedata.normalize("NFC", match[1])
            if os.path.splitext(name)[1].lower() not in audio.EXTENSIONS:
                sources.others[song_id] = path
            elif song_id in sources:
                both = f"{sources[song_id].path} and {path}"
                raise CorpusError(f"two audio files for song {song_id}: {both}")
            else:
                sources[song_id] = AudioFile(path)
    return sources


def find_below(directory: Path, tail: str | Path, *, folder: bool = False) -> Path:
    """The first file below a directory, at most three levels down, whose path ends in `tail`.

    Args:
      folder: whether to find a folder instead of a file.

    Raises:
      CorpusError: there is none.
    """
    for depth in range(4):
        for path in sorted(directory.glob("*/" * depth + str(tail))):
            if path.is_dir() if folder else path.is_file():
                return path
    raise CorpusError(f"{directory}: no {'folder' if folder else 'file'} {tail} below it")


def assemble(
    alignment: Alignment,
    sources: Mapping[str, Source],
    *,
    audio_start: float = 0.0,
    failed: Mapping[str, Failure] | None = None,
) -> Corpus:
    """Joins labels and sources by song id, and records songs that lack one of them.

    Args:
      audio_start: the second of the song at which every source begins, 0 or later; earlier labels
        are cut off.
      failed: songs with labels whose files cannot be read, by id; they have no source.

    Raises:
      CorpusError: `audio_start` is invalid, or no song is left.
    """
    # A time that overflows in segments is invalid too.
    if not 0 <= audio_start / SEGMENT_SECONDS < math.inf:
        raise CorpusError(f"audio_start: {audio_start} is not a time in seconds, 0 or later")
    start = first_segment(audio_start)
    songs, cut_off, unheard, n_before = [], [], [], 0
    for song_id, labels in alignment.labels.items():
        if song_id not in sources:
            continue
        n = max(start - labels.first_segment, 0)
        if n >= len(labels):
            unheard.append(song_id)
            continue
        if n:
            cut_off.append(song_id)
            n_before += n
        songs.append(Recording(song_id, sources[song_id], labels.after(n), audio_start))
    if unheard and not songs:
        raise CorpusError(f"audio_start {audio_start:g}: all labels are earlier")
    failed = dict(failed or {})
    if not songs and failed:
        raise CorpusError(f"no song can be built; the first: {next(iter(failed.values())).reason}")
    if not songs:
        raise CorpusError(_nothing_in_common(list(alignment.labels), list(sources)))
    built = {song.song_id for song in songs}
    notes = {
        "valence and arousal of unequal length, common span kept": alignment.unequal_lengths,
        "labels missing inside the curve, masked": alignment.interior_gaps,
        "labels before the start of the audio, cut off": cut_off,
    }
    corpus = Corpus(
        songs=songs,
        labelled=list(alignment.labels),
        failed=failed,
        left_out=_left_out(alignment, sources, failed, unheard),
        notes={k: kept for k, v in notes.items() if (kept := [s for s in v if s in built])},
        n_before=n_before,
    )
    if isinstance(sources, Sources):
        corpus.left_out |= sources.left_out
        without_audio = corpus.left_out.get(WITHOUT_AUDIO, ())
        if others := [sources.others[s] for s in without_audio if s in sources.others]:
            corpus.notes[_NOT_AUDIO] = others
    return corpus


def _left_out(
    alignment: Alignment,
    sources: Mapping[str, Source],
    failed: Mapping[str, Failure],
    unheard: list[str],
) -> dict[str, list[str]]:
    left_out = {
        WITHOUT_AUDIO: [s for s in alignment.labels if s not in sources and s not in failed],
        "audio without labels": [s for s in sources if s not in alignment.labels],
        UNHEARD: unheard,
        "valence labels only": alignment.valence_only,
        "arousal labels only": alignment.arousal_only,
        "no segment with both labels": alignment.unlabelled,
    }
    return {k: sorted(v, key=natural_key) for k, v in left_out.items() if v}


def _nothing_in_common(labelled: Sequence[str], audible: Sequence[str]) -> str:
    found = (
        f"{what} of {shorten(names, 3) or 'no song'}"
        for what, names in (("labels", labelled), ("audio", audible))
    )
    return f"no song has both labels and audio; found {' and '.join(found)}"


def first_segment(audio_start: float) -> int:
    """The first segment entirely within audio that begins at this second of the song."""
    # Less a little, because of rounding: 0.3 / 0.1 is not exactly 3.
    return math.ceil(audio_start / SEGMENT_SECONDS - 1e-9)


def shorten(names: Sequence[str], limit: int = 10) -> str:
    """'a, b, c' or, if there are more names than the limit, the first and how many more."""
    # A file name need not be valid Unicode, but printed text must be.
    shown = ", ".join(names[:limit]).encode(errors="backslashreplace").decode()
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
