"""Computes the features of a song, and of many songs by worker processes.

Workers are spawned (a fork after JAX or TensorFlow has started threads deadlocks) and import
neither of the two.
"""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from damff_jax.audio import AudioWarning
from damff_jax.features import SEGMENT_SECONDS, FeatureConfig, log_mel_blocks, segments
from damff_jax.system.subprocesses import SINGLE_THREADED, temporary_environment
from input_pipeline.corpus import CorpusError, Recording, first_segment


@dataclasses.dataclass(frozen=True)
class Extracted:
    """A song's log-Mel over its labelled segments.

    Attributes:
      log_mel_TxFxM: float16, in dB.
      n_missing: number of labelled segments after the end of the audio, which are cut off.
      warnings: of the decoder.
    """

    log_mel_TxFxM: np.ndarray
    n_missing: int
    warnings: list[str]


def extract(song: Recording, config: FeatureConfig) -> Extracted:
    """Computes a song's features over its labels' span, from a stream.

    Raises:
      AudioError: the source cannot be read.
    """
    start = first_segment(song.audio_start)
    first = (song.labels.first_segment - start) * config.frames_per_segment
    last = first + len(song.labels) * config.frames_per_segment
    # Frames are counted from the first whole segment.
    skipped = round((start * SEGMENT_SECONDS - song.audio_start) * config.sample_rate)
    kept, position = [], 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        blocks = _without_first(song.source.blocks(config.sample_rate), skipped)
        for frames in log_mel_blocks(blocks, config):
            part = frames[max(first - position, 0) : max(last - position, 0)]
            # float16 is accurate to within 0.03 dB.
            kept.append(part.astype(np.float16))
            position += len(frames)
    log_mel_TxFxM = segments(np.concatenate(kept), config)
    return Extracted(
        log_mel_TxFxM=log_mel_TxFxM,
        n_missing=len(song.labels) - len(log_mel_TxFxM),
        warnings=[str(w.message) for w in caught if issubclass(w.category, AudioWarning)],
    )


def _without_first(blocks: Iterator[np.ndarray], n_samples: int) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block[n_samples:]
        n_samples = max(n_samples - len(block), 0)


@contextlib.contextmanager
def pool(workers: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """A pool of spawned, single-threaded worker processes, which do not outlive this one.

    Raises:
      CorpusError: one of them died.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with (
            temporary_environment(SINGLE_THREADED),
            concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker) as executor,
        ):
            try:
                yield executor
            except BaseException:
                # Pending work is no longer needed, and stopping should not wait for it.
                executor.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool as error:
        raise CorpusError(
            "a worker process died, perhaps because memory ran out: try fewer --workers"
        ) from error


def _start_worker() -> None:
    # Ctrl-C reaches all processes of a terminal; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # If the parent were killed, a worker would wait for work for ever.
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # This is a worker.
    parent.join()
    os._exit(1)
