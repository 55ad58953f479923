"""Data sets of random songs, as many as wanted: real shards, without audio to compute them from.

For measurements; speed and memory do not depend on the values.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tensorflow_datasets.core import dataset_metadata

from damff_jax.features import FeatureConfig
from input_pipeline import datasets
from input_pipeline.annotations import Labels
from input_pipeline.base import SongBuilder, hide_accelerators_from_tensorflow
from input_pipeline.corpus import AudioFile, Corpus, Options, Recording
from input_pipeline.extraction import Extracted
from input_pipeline.splits import DrawnSplit


@dataclasses.dataclass(frozen=True)
class RandomOptions(Options):
    """Number of songs, and the segments of each."""

    n_songs: int = 200
    song_segments: int = 90


class RandomSongs(SongBuilder[RandomOptions]):
    """Songs that all have the same random features and labels."""

    name = "random"
    OPTIONS = RandomOptions

    @classmethod
    def get_metadata(cls) -> dataset_metadata.DatasetMetadata:
        # There is no folder with a description.
        return dataset_metadata.DatasetMetadata(description=None, citation=None, tags=[])

    def corpus(self, manual_dir: Path) -> Corpus:
        shape = self.options.song_segments, 2
        values = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        labels = Labels(0, values, np.ones(shape, bool))
        names = [str(i) for i in range(self.options.n_songs)]
        return Corpus([Recording(name, AudioFile(""), labels) for name in names], names)

    def _extracted(self, corpus: Corpus) -> Iterator[tuple[Recording, Extracted]]:
        f, m = self.features.frames_per_segment, self.features.n_mels
        rng = np.random.default_rng(0)
        values = 15 * rng.standard_normal((self.options.song_segments, f, m), np.float32) - 30
        extracted = Extracted(values.astype(np.float16), 0, [])
        for song in corpus.songs:
            yield song, extracted


def open_random(
    data_dir: str | os.PathLike, options: RandomOptions, features: FeatureConfig, reading: str
) -> datasets.Dataset:
    """A data set whose songs are all training songs, built if necessary.

    Args:
      reading: see `Dataset`.
    """
    hide_accelerators_from_tensorflow()
    config = RandomSongs.config(features, options)
    builder = RandomSongs(data_dir=os.fspath(data_dir), config=config)
    datasets.prepare(builder)
    split = DrawnSplit(validation_fraction=0.0, test_fraction=0.0)
    return dataclasses.replace(datasets.Dataset.of(builder, split), reading=reading)
