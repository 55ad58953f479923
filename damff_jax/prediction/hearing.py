"""What is noticed about a song while its stream is read: warnings, and how unlike it is."""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from damff_jax.audio import AudioWarning
from damff_jax.evaluation import familiarity
from damff_jax.evaluation.familiarity import Profile
from damff_jax.prediction.sources import Source
from damff_jax.report.spectrogram import Thumbnail

# Python's filters of warnings belong to the whole process.
_lock = threading.Lock()


class Notes(NamedTuple):
    """What was noticed about a song; see `damff_jax.report.curve.Curve`."""

    unlikeness: float | None
    remarks: tuple[str, ...]
    picture: np.ndarray | None


def heard(
    song: Source,
    blocks: Iterable[np.ndarray],
    profile: Profile | None,
    keep: Callable[[Notes], None],
) -> Iterator[np.ndarray]:
    """Passes on a song's stream; calls `keep` once at its end, also if that is an error.

    A song that is unlike the training songs causes an `AudioWarning`.
    """
    unlikeness, remarks = None, list[str]()
    thumbnail = Thumbnail()
    blocks = thumbnail.watch(_noted(song, blocks, remarks))
    try:
        if profile is None:
            yield from blocks
        else:
            listener = familiarity.Listener()
            yield from listener.hear(blocks)
            unlikeness = profile.unlikeness(listener.statistics())
            if unlikeness > 1:
                message = (
                    f"{song.name}: unlike the training songs (unlikeness {unlikeness:.1f}, where 1 "
                    "is the limit); the curve is not reliable"
                )
                remarks.append(message)
                warnings.warn(message, AudioWarning, stacklevel=2)
    finally:
        nameless = (remark.removeprefix(f"{song.name}: ") for remark in remarks)
        keep(Notes(unlikeness, tuple(nameless), thumbnail.image()))


def _noted(song: Source, blocks: Iterable[np.ndarray], remarks: list[str]) -> Iterator[np.ndarray]:
    """Passes on a stream and its warnings, and appends the messages of `AudioWarning`s."""
    blocks = iter(blocks)
    while True:
        with _lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AudioWarning)
            block = next(blocks, None)
        for warning in caught:
            if issubclass(warning.category, AudioWarning):
                remarks.append(song.renamed(str(warning.message)))
                warnings.warn(remarks[-1], AudioWarning, stacklevel=2)
            else:
                warnings.warn(warning.message, stacklevel=2)
        if block is None:
            return
        yield block
