"""From shards to batches: songs are read once into host memory, and crops are cut by tf.data, or on
the devices if they hold the songs too. DEAM as float16 takes 1.4 GB at the paper's settings.

Letters: D devices, S steps per call, B batch per device, T segments, R segments of all songs,
F frames per segment, M Mel bins, V = 2.
"""

from collections.abc import Collection, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from damff_jax.songs import Songs
from damff_jax.training.crops import Crops
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import CorpusError
from input_pipeline.shards import SONGS, check_shards

Batch = dict[str, np.ndarray]


def load_songs(builder: SongBuilder, song_ids: Collection[str]) -> Songs:
    """Reads songs of a built data set.

    Args:
      song_ids: some of those that the manifest lists, in the order of the result.

    Raises:
      CorpusError: the shards are damaged.
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
            f"{builder.data_dir}: does not hold the songs that its manifest lists; delete the "
            "folder and prepare again"
        )
    return Songs(list(song_ids), first, length, log_mel_RxFxM, labels_RxV, mask_RxV, times_R)


def train_batches(crops: Crops) -> Iterator[Batch]:
    """Endless batches of random crops, cut by tf.data.

    The batches of several calls are in memory at once. With large batches and many steps per call,
    it is better to keep the songs on the devices, see `Crops.calls`.

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

    # A dataset per stretch instead of one that calls Python for every step: a tf.data thread that
    # waits for the interpreter would hang the process when it exits.
    for stretch in crops.stretches():
        dataset = tf.data.Dataset.from_tensor_slices(stretch)
        dataset = dataset.map(cut, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        dataset = dataset.batch(crops.steps_per_call).prefetch(1)
        for batch in dataset.as_numpy_iterator():
            yield {name: x.swapaxes(0, 1) for name, x in batch.items()}
