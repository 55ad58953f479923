"""Which crops each step of training takes.

They depend only on (seed, step), see `CropPlan`: the position in the data is the step, so training
can resume at any step without reading earlier data.

Letters: D devices, S steps per call, B batch per device, T segments.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator

import numpy as np

from damff_jax.songs import LabelledSongs

# Steps whose crops are drawn together.
_STEPS_PER_STRETCH = 2048


class CropPlan:
    """The crops of each step: a function of (seed, step) and the songs' lengths.

    An epoch has ⌈length / T⌉ crops of every song, so that longer songs count for more. Each start
    is drawn uniformly, and the order is shuffled in every epoch. A batch may span two epochs, so no
    crop of an epoch is left out, whatever the batch size.
    """

    def __init__(self, length: np.ndarray, *, batch_size: int, crop_segments: int, seed: int):
        if batch_size < 1 or crop_segments < 1:
            raise ValueError("batch_size and crop_segments must be positive")
        self._length = np.asarray(length)
        self._batch_size = batch_size
        self._crop_segments = crop_segments
        self._seed = seed
        self._slots = np.repeat(np.arange(len(length)), -(-self._length // crop_segments))
        self._epoch = functools.lru_cache(maxsize=2)(self._draw_epoch)

    @property
    def crops_per_epoch(self) -> int:
        return len(self._slots)

    def crops(self, first_step: int, n_steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Crops of consecutive steps: song indices, and first segments within the songs.

        Both int64 (n_steps, batch_size).
        """
        position, end = (step * self._batch_size for step in (first_step, first_step + n_steps))
        parts = []
        while position < end:
            epoch, slot = divmod(position, self.crops_per_epoch)
            n = min(self.crops_per_epoch - slot, end - position)
            parts.append([x[slot : slot + n] for x in self._epoch(epoch)])
            position += n
        shape = n_steps, self._batch_size
        songs, starts = (np.concatenate(x).reshape(shape) for x in zip(*parts, strict=True))
        return songs, starts

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self._seed, epoch])
        songs = rng.permutation(self._slots)
        room = np.maximum(self._length[songs] - self._crop_segments, 0)
        return songs, rng.integers(0, room, endpoint=True)


@dataclasses.dataclass(frozen=True)
class Crops:
    """The crops of a run from a given step on, laid out for this process's devices.

    Args:
      songs: the training split.
      batch_size: crops per step over all devices of all processes.
      crop_segments: T; shorter songs are padded.
      seed: determines the crops, together with the step.
      first_step: the step of the first batch.
      steps_per_call: S, steps whose batches are returned together.
      n_devices: D, local devices.
      process_index, process_count: determine this process's part of the global batch.

    Raises:
      ValueError: batch_size is not a multiple of the number of all devices.
    """

    songs: LabelledSongs
    batch_size: int
    crop_segments: int
    seed: int
    first_step: int = 0
    steps_per_call: int = 1
    n_devices: int = 1
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        if self.batch_size % (self.n_devices * self.process_count):
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of the "
                f"{self.n_devices * self.process_count} devices"
            )

    def stretches(self) -> Iterator[dict[str, np.ndarray]]:
        """Endless stretches of steps: `row`, where crops start in the songs' arrays, and `n`.

        Both int32 (steps, D, B); `n` is the number of a crop's segments without padding. A stretch
        has the steps of whole calls.
        """
        plan = self._plan()
        per_process = self.batch_size // self.process_count
        part = slice(self.process_index * per_process, (self.process_index + 1) * per_process)
        n_steps = -(-_STEPS_PER_STRETCH // self.steps_per_call) * self.steps_per_call
        for step in itertools.count(self.first_step, n_steps):
            song, start = (x[:, part] for x in plan.crops(step, n_steps))
            crops = {
                "row": self.songs.first[song] + start,
                "n": np.minimum(self.songs.length[song] - start, self.crop_segments),
            }
            shape = n_steps, self.n_devices, -1
            yield {name: x.astype(np.int32).reshape(shape) for name, x in crops.items()}

    def calls(self) -> Iterator[dict[str, np.ndarray]]:
        """The crops call by call, for songs that are on the devices: `row` and `n` (D, S, B)."""
        for stretch in self.stretches():
            for step in range(0, len(stretch["n"]), self.steps_per_call):
                call = slice(step, step + self.steps_per_call)
                yield {name: x[call].swapaxes(0, 1) for name, x in stretch.items()}

    def song_ids(self, step: int) -> list[str]:
        """The songs whose crops make up the global batch after `step` steps, in their order."""
        songs, _ = self._plan().crops(step)
        return [self.songs.song_ids[song] for song in np.unique(songs)]

    def _plan(self) -> CropPlan:
        return CropPlan(
            self.songs.length,
            batch_size=self.batch_size,
            crop_segments=self.crop_segments,
            seed=self.seed,
        )
