"""Writes composed songs to a folder in DEAM's layout, by worker processes."""

import csv
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from damff_jax.audio.encoding import encode
from damff_jax.system.files import temporary_name
from input_pipeline.corpus import CorpusError
from input_pipeline.synthetic.composer import SEGMENT_S, compose_song

# Changes whenever the composer would write other songs from the same seed.
REVISION = 1


def write_songs(
    parent: Path,
    ids: Sequence[int],
    *,
    seed: int,
    duration_s: float,
    sample_rate: int,
    executor: Executor | None = None,
    progress: bool = False,
) -> Path:
    """Composes songs and writes them to a folder below `parent`, unless they exist.

    Returns:
      The folder: MEMD_audio/<id>.flac and the label files, as in DEAM.

    Raises:
      CorpusError: an invalid duration, sample rate or seed.
    """
    identity = [REVISION, list(ids), seed, duration_s, sample_rate]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    folder = parent / f"songs-{digest}"
    if folder.is_dir():
        return folder
    unfinished = parent / temporary_name(f"songs-{digest}")
    labels = unfinished / "annotations averaged per song" / "dynamic (per second annotations)"
    try:
        (unfinished / "MEMD_audio").mkdir(parents=True)
        labels.mkdir(parents=True)
        compose = functools.partial(
            _compose, str(unfinished), seed=seed, duration_s=duration_s, sample_rate=sample_rate
        )
        composed = executor.map(compose, ids) if executor else map(compose, ids)
        bar = tqdm(composed, "composing", len(ids), unit="song", disable=not progress)
        curves = dict(zip(ids, bar, strict=True))
        for v, name in enumerate(("valence", "arousal")):
            write_curves(labels / f"{name}.csv", {i: curves[i][v] for i in ids})
        _finish(unfinished, folder)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, ValueError):
            raise CorpusError(str(error)) from error
        raise
    return folder


def _finish(unfinished: Path, folder: Path) -> None:
    try:
        os.replace(unfinished, folder)
    except OSError:
        # Another machine has composed the same songs, and was faster.
        if not folder.is_dir():
            raise
        shutil.rmtree(unfinished)


def write_curves(path: Path, curves: Mapping[int, Sequence[float]]) -> None:
    """Writes a label file in DEAM's form, the first column at 0 ms."""
    n_segments = max(map(len, curves.values()))
    times_ms = (round(1000 * SEGMENT_S) * i for i in range(n_segments))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["song_id", *(f"sample_{time}ms" for time in times_ms)])
        for song_id, curve in curves.items():
            writer.writerow([song_id, *(f"{value:.6f}" for value in curve)])


def _compose(
    folder: str, song_id: int, *, seed: int, duration_s: float, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    # Hashed, so that data sets with neighbouring seeds have no song in common.
    song_seed = int(np.random.SeedSequence([seed, song_id]).generate_state(1, np.uint64)[0])
    song = compose_song(song_seed, duration_s=duration_s, sample_rate=sample_rate)
    path = os.path.join(folder, "MEMD_audio", f"{song_id}.flac")
    samples = np.clip(np.rint(song.samples * np.float32(2**15)), -(2**15), 2**15 - 1)
    encode(path, samples.astype(np.int16), sample_rate, "flac", "flac")
    return song.valence, song.arousal
