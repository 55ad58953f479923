"""From shards to batches: songs are read once into host memory, crops are taken by tf.data, or
on the devices if they hold the songs too.

Which crops make up a step is a function of (seed, step) alone, see `CropPlan`: the position in the
data is the step, so training resumes anywhere without reading what came before. DEAM as float16
takes 1.4 GB at the paper's setting.

Letters: D devices, S steps per call, B batch per device, T segments, R segments of all songs,
F frames per segment, M Mel bins, V = 2.
"""

import dataclasses
import functools
import itertools
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import CorpusError
from input_pipeline.shards import SONGS, check_shards

Batch = dict[str, np.ndarray]

_STEPS_PER_STRETCH = 2048
# Segments whose statistics are taken together: few enough to stay in the cache.
_ROWS_PER_SUM = 32


@dataclasses.dataclass(frozen=True)
class Song:
    """A song over the span of its labels.

    Attributes:
      song_id: as in the label files.
      log_mel_TxFxM: float16, dB.
      labels_TxV: float32, valence and arousal; 0 where the mask is false.
      mask_TxV: bool, where there is a label.
      times_T: float32, the segments' starts in seconds.
    """

    song_id: str
    log_mel_TxFxM: np.ndarray
    labels_TxV: np.ndarray
    mask_TxV: np.ndarray
    times_T: np.ndarray


@dataclasses.dataclass(frozen=True)
class Songs:
    """All songs of a split, their segments in one array each (R of them in all).

    Attributes:
      song_ids: in natural order.
      first, length: int64 per song, where its segments lie.
      targets: more arrays (R, ...) that crops are cut from, for training, by their name in a batch.
    """

    song_ids: list[str]
    first: np.ndarray
    length: np.ndarray
    log_mel_RxFxM: np.ndarray
    labels_RxV: np.ndarray
    mask_RxV: np.ndarray
    times_R: np.ndarray
    targets: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.song_ids)

    def arrays(self) -> dict[str, np.ndarray]:
        """What crops are cut from, by its name in a batch."""
        return {
            "log_mel": self.log_mel_RxFxM,
            "labels": self.labels_RxV,
            "label_mask": self.mask_RxV,
            **self.targets,
        }

    def seconds(self) -> tuple[float, float]:
        """The span of the songs that is used: from the first segment's start to the last's end."""
        return float(self.times_R.min()), float(self.times_R.max()) + SEGMENT_SECONDS

    def mel_statistics(self) -> dict[str, np.ndarray]:
        """`mean` and `std` (M,) of every Mel bin over all frames, in dB, float64.

        A bin that never moves gets the standard deviation 1.
        """
        n, sum_M, sum_of_squares_M = 0, 0.0, 0.0
        for start in range(0, len(self.log_mel_RxFxM), _ROWS_PER_SUM):
            rows_RxFxM = self.log_mel_RxFxM[start : start + _ROWS_PER_SUM]
            frames = rows_RxFxM.reshape(-1, rows_RxFxM.shape[-1]).astype(np.float64)
            n += len(frames)
            sum_M = sum_M + frames.sum(axis=0)
            sum_of_squares_M = sum_of_squares_M + np.square(frames).sum(axis=0)
        mean_M = sum_M / n
        var_M = np.maximum(sum_of_squares_M / n - mean_M**2, 0.0)
        return {"mean": mean_M, "std": np.where(var_M > 1e-6, np.sqrt(np.maximum(var_M, 1e-6)), 1)}

    def __iter__(self) -> Iterator[Song]:
        for song_id, first, length in zip(self.song_ids, self.first, self.length, strict=True):
            rows = slice(first, first + length)
            yield Song(
                song_id,
                self.log_mel_RxFxM[rows],
                self.labels_RxV[rows],
                self.mask_RxV[rows],
                self.times_R[rows],
            )


def load_songs(builder: SongBuilder, song_ids: Collection[str]) -> Songs:
    """Reads songs of a built data set.

    Args:
      song_ids: some of those that the account of the shards lists, in the order wanted.

    Raises:
      CorpusError: the shards are not those that were written.
    """
    check_shards(builder)
    n_segments = builder.info.metadata["songs"]
    length = np.array([n_segments[song_id] for song_id in song_ids], np.int64)
    first = np.cumsum(length) - length
    rows_of = {
        song_id: slice(start, start + n)
        for song_id, start, n in zip(song_ids, first, length, strict=True)
    }
    n, f, m = length.sum(), builder.features.frames_per_segment, builder.features.n_mels
    log_mel_RxFxM = np.empty((n, f, m), np.float16)
    labels_RxV, mask_RxV = np.empty((n, 2), np.float32), np.empty((n, 2), bool)
    times_R = np.empty(n, np.float32)
    missing = set(rows_of)
    read_config = tfds.ReadConfig(assert_cardinality=True, interleave_cycle_length=1)
    try:
        for example in tfds.as_numpy(builder.as_dataset(split=SONGS, read_config=read_config)):
            song_id = example["song_id"].decode()
            if song_id not in rows_of:
                continue
            rows = rows_of[song_id]
            if song_id not in missing or len(example["times"]) != rows.stop - rows.start:
                missing.add(song_id)
                break
            log_mel_RxFxM[rows] = example["log_mel"]
            labels_RxV[rows], mask_RxV[rows] = example["labels"], example["mask"]
            times_R[rows] = example["times"]
            missing.remove(song_id)
    except (tf.errors.OpError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CorpusError(
            f"{builder.data_dir}: cannot be read ({reason}); delete the folder and prepare again"
        ) from error
    if missing:
        raise CorpusError(
            f"{builder.data_dir}: does not hold the songs that its account lists; delete the "
            "folder and prepare again"
        )
    return Songs(list(song_ids), first, length, log_mel_RxFxM, labels_RxV, mask_RxV, times_R)


class CropPlan:
    """Which crops make up which step: a function of (seed, step) and the songs' lengths.

    An epoch takes ⌈length / T⌉ crops of every song, so that long songs count for more, each from
    a start drawn uniformly, in an order drawn anew. Steps run through the epochs without a break:
    no crop of an epoch is left out, whatever the batch size.
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
        """Crops of consecutive steps: song numbers and first segments within the songs.

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
    """Which crops a run takes from which step on, laid out for this process's devices.

    Args:
      songs: the training split.
      batch_size: crops per step over all devices of all processes.
      crop_segments: T; shorter songs are padded.
      seed: decides the crops together with the step.
      first_step: the step of the first batch.
      steps_per_call: S, steps whose batches come together.
      n_devices: D, local devices; process_index and process_count say which part of the global
        batch is this process's.

    Raises:
      ValueError: batch_size is no multiple of the number of all devices.
    """

    songs: Songs
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
                f"batch_size {self.batch_size} is no multiple of the "
                f"{self.n_devices * self.process_count} devices"
            )

    def stretches(self) -> Iterator[dict[str, np.ndarray]]:
        """Endless stretches of steps: `row`, where crops start in the songs' arrays, and `n`.

        Both int32 (steps, D, B); `n` is the number of a crop's segments that are there. The steps
        are those of whole calls.
        """
        plan = CropPlan(
            self.songs.length,
            batch_size=self.batch_size,
            crop_segments=self.crop_segments,
            seed=self.seed,
        )
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
        """The crops call by call, for songs that lie on the devices: `row` and `n` (D, S, B)."""
        for stretch in self.stretches():
            for step in range(0, len(stretch["n"]), self.steps_per_call):
                call = slice(step, step + self.steps_per_call)
                yield {name: x[call].swapaxes(0, 1) for name, x in stretch.items()}


def train_batches(crops: Crops) -> Iterator[Batch]:
    """Endless batches of random crops, cut by tf.data.

    Some calls' batches are in memory at once, so with large ones and many steps per call songs on
    the devices, see `Crops.calls`, are the better way.

    Yields:
      `log_mel` (D, S, B, T, F, M) float16, `labels` (D, S, B, T, V) float32, `label_mask`
      (D, S, B, T, V) bool, and `mask` (D, S, B, T) bool, false at padding.
    """
    # Captured as tensors, so that cropping runs in tf.data's threads.
    arrays = {name: tf.constant(array) for name, array in crops.songs.arrays().items()}

    def cut(crop: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        t = tf.range(crops.crop_segments)
        mask = t < crop["n"][..., None]
        rows = crop["row"][..., None] + tf.where(mask, t, 0)
        batch = {"mask": mask}
        for name, array in arrays.items():
            values = tf.gather(array, rows)
            present = tf.reshape(mask, tf.concat([tf.shape(mask), [1] * (array.ndim - 1)], 0))
            batch[name] = tf.where(present, values, tf.zeros((), array.dtype))
        return batch

    # A dataset per stretch, rather than one that calls Python for every step: a tf.data thread
    # that waits for the interpreter would hang the process at its exit.
    for stretch in crops.stretches():
        dataset = tf.data.Dataset.from_tensor_slices(stretch)
        dataset = dataset.map(cut, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        dataset = dataset.batch(crops.steps_per_call).prefetch(1)
        for batch in dataset.as_numpy_iterator():
            yield {name: x.swapaxes(0, 1) for name, x in batch.items()}
