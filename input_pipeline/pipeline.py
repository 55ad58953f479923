"""From shards to batches. Songs are read into memory once, or from the shards crop by crop.

A batch is put together by a few threads, ahead of the step that takes it. Its crops depend on the
step alone, so training can resume at any step, and needs no state of the pipeline for that.

Letters: D devices, S steps per call, B batch per device, T segments, R segments of all songs,
F frames per segment, M Mel bins, V = 2.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import tensorflow as tf

from damff_jax.songs import LabelledSongs, Songs
from damff_jax.training.crops import Crops
from input_pipeline.base import SongBuilder
from input_pipeline.records import THREADS, Records, layout, n_records_of
from input_pipeline.shards import RECORD_SEGMENTS, check_shards

Batch = dict[str, np.ndarray]
# Calls whose batches are being put together while another one is used.
_CALLS_AHEAD = 2


def load_songs(builder: SongBuilder, song_ids: Collection[str]) -> Songs:
    """Reads songs of a built data set into memory.

    Args:
      song_ids: some of those that the manifest lists, in the order of the result.

    Raises:
      CorpusError: the shards are damaged.
    """
    check_shards(builder)
    records, (first, length) = Records(builder), layout(builder, song_ids)
    n, f, m = length.sum(), builder.features.frames_per_segment, builder.features.n_mels
    log_mel_RxFxM = np.empty((n, f, m), np.float16)
    labels_RxV, mask_RxV = np.empty((n, 2), np.float32), np.empty((n, 2), bool)
    times_R = np.empty(n, np.float32)

    def read(song_id: str, first: int, record: int) -> None:
        example = records.read(song_id, record)
        start = first + record * RECORD_SEGMENTS
        rows = slice(start, start + len(example["times"]))
        log_mel_RxFxM[rows] = example["log_mel"]
        labels_RxV[rows], mask_RxV[rows] = example["labels"], example["mask"]
        times_R[rows] = example["times"]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        wanted = zip(song_ids, first, length, strict=True)
        all_records = ((s, i, k) for s, i, n in wanted for k in range(n_records_of(int(n))))
        try:
            # In parts, so that an error ends it soon.
            while part := list(itertools.islice(all_records, 1024)):
                list(pool.map(read, *zip(*part, strict=True)))
        finally:
            pool.shutdown(cancel_futures=True)
    return Songs(list(song_ids), first, length, log_mel_RxFxM, labels_RxV, mask_RxV, times_R)


def train_batches(crops: Crops) -> Iterator[Batch]:
    """Endless batches of random crops, cut by threads that end with the iterator.

    The batches of several calls are in memory at once. With large batches and many steps per call,
    it is better to keep the songs on the devices, see `Crops.calls`.

    Yields:
      `log_mel` (D, S, B, T, F, M) float16, `labels` (D, S, B, T, V) float32, `label_mask`
      (D, S, B, T, V) bool, `mask` (D, S, B, T) bool, false at padding, and the songs' targets.

    Raises:
      CorpusError: a record is damaged.
    """
    # Its threads end when nothing refers to it any more. To wait for them is not possible if Python
    # is about to exit.
    pool = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="crops")
    pending: collections.deque[_Pending] = collections.deque()
    try:
        for call in crops.calls():
            pending.append(_Pending.submit(pool, crops.songs, call, crops.crop_segments))
            if len(pending) > _CALLS_AHEAD:
                yield pending.popleft().result()
    finally:
        for call_pending in pending:
            call_pending.cancel()


def dataset(crops: Crops) -> tf.data.Dataset:
    """The batches of `train_batches` as a dataset of tf.data, for transformations of one's own.

    Training itself takes them as they are: tf.data copies each batch several times, which takes
    longer than cutting it.
    """
    per_device = crops.batch_size // (crops.n_devices * crops.process_count)
    leading = crops.n_devices, crops.steps_per_call, per_device, crops.crop_segments
    signature = {"mask": tf.TensorSpec(leading, tf.bool)}
    for name, (shape, dtype) in crops.songs.layout().items():
        signature[name] = tf.TensorSpec((*leading, *shape), dtype)
    return tf.data.Dataset.from_generator(lambda: train_batches(crops), output_signature=signature)


@dataclasses.dataclass(frozen=True)
class _Pending:
    """A call's batch whose crops are being copied."""

    batch: Batch
    crops: list[concurrent.futures.Future]

    @classmethod
    def submit(
        cls,
        pool: concurrent.futures.Executor,
        songs: LabelledSongs,
        call: Mapping[str, np.ndarray],
        t: int,
    ) -> "_Pending":
        """Starts with the crops of a call, which have `t` segments with padding."""
        row, n = call["row"], call["n"]
        batch: Batch = {"mask": np.arange(t) < n[..., None]}
        for name, (shape, dtype) in songs.layout().items():
            batch[name] = np.empty((*n.shape, t, *shape), dtype)
        crops = [
            pool.submit(_cut, songs, int(row[at]), int(n[at]), {k: x[at] for k, x in batch.items()})
            for at in np.ndindex(n.shape)
        ]
        return cls(batch, crops)

    def result(self) -> Batch:
        for crop in self.crops:
            crop.result()
        return self.batch

    def cancel(self) -> None:
        for crop in self.crops:
            crop.cancel()


def _cut(songs: LabelledSongs, row: int, n: int, crop: Mapping[str, np.ndarray]) -> None:
    """Copies a crop of `n` segments, and clears the padding."""
    songs.copy_segments(row, n, crop)
    for name in songs.layout():
        crop[name][n:] = 0
