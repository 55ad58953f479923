"""Damaged data sets, read as by training.

refused  a CorpusError or FeatureMismatchError of one line
handled  the songs are those that were written; or the data set counts as not built, so that it is
         built again
silent   missing songs, other songs, or other statistics
"""

import shutil
from pathlib import Path

import numpy as np

from damff_jax.features import FeatureConfig, FeatureMismatchError
from input_pipeline import datasets
from input_pipeline.corpus import CorpusError
from tests.faults.mutations import mutate

_FEATURES = FeatureConfig(sample_rate=16_000, n_fft=512, win_length=512, hop_length=800, n_mels=8)


_OPTIONS, _SPLIT = datasets.make_settings("folder", {})


def _open(data_dir: Path) -> datasets.SongBuilder:
    return datasets.open_builder("folder", data_dir=data_dir, features=_FEATURES, options=_OPTIONS)


def make_inputs(folder: Path, seed: int) -> None:
    """A small data set."""
    del seed
    dummy = Path(datasets.__file__).parent / "folder" / "dummy_data"
    datasets.prepare(_open(folder), manual_dir=dummy)


class Trials:
    def __init__(self, folder: Path, seed: int):
        self._seed = seed
        self._data_dir = folder.parent / f"shards_{id(self)}"
        shutil.copytree(folder, self._data_dir)
        self._whole = self._load()
        self._paths = sorted(p for p in self._data_dir.glob("folder/*/*/*") if p.is_file())

    def _load(self) -> dict[str, tuple] | None:
        """All data that training uses; None if the data set would be built again."""
        builder = _open(self._data_dir)
        if not datasets.is_built(builder):
            return None
        dataset = datasets.Dataset.of(builder, _SPLIT)
        loaded: dict[str, tuple] = {"dataset": (dataset.identity, dataset.digests()["files"])}
        for split in dataset.song_ids:
            songs = dataset.load(split)
            loaded[split] = (
                *(x.tobytes() for x in songs.mel_statistics().values()),
                songs.song_ids,
                *(x.tobytes() for x in (*songs.arrays().values(), songs.times_R, songs.first)),
            )
        return loaded

    def run(self, number: int) -> tuple[str, str]:
        rng = np.random.default_rng([self._seed, 3, number])
        path = self._paths[rng.integers(len(self._paths))]
        content = path.read_bytes()
        if rng.random() < 0.1:
            self.what = f"{path.name} deleted"
            path.unlink()
        elif rng.random() < 0.1:
            other = self._paths[rng.integers(len(self._paths))]
            self.what = f"{path.name} replaced by {other.name}"
            path.write_bytes(other.read_bytes())
        else:
            mutated = mutate(content, rng)
            self.what = f"{path.name}: {mutated.what} of {len(content)} bytes"
            path.write_bytes(mutated.content)
        try:
            loaded = self._load()
        except (CorpusError, FeatureMismatchError) as error:
            one_line = str(path.parents[1]) in str(error) and "\n" not in str(error)
            return "refused" if one_line else "crashed", f"{self.what}: {error}"
        finally:
            path.write_bytes(content)
        if loaded is None or loaded == self._whole:
            return "handled", self.what
        return "silent", f"{self.what}: other songs"
