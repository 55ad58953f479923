"""Songs composed from a seed, written as flac with labels in DEAM's layout (see README.md)."""

import csv
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from input_pipeline.base import Options, SongBuilder
from input_pipeline.corpus import Corpus, CorpusError
from input_pipeline.deam.deam_dataset_builder import LAST_CLIP_ID, DeamOptions, deam_corpus
from input_pipeline.extraction import pool
from input_pipeline.synthetic.composer import SEGMENT_S, compose_song

# Changes whenever the composer would write other songs from the same seed.
REVISION = 1


@dataclasses.dataclass(frozen=True)
class SyntheticOptions(Options):
    """Options of the synthetic data set.

    Args:
      n_clips: songs for training and validation, with DEAM's ids of clips (1 to 2000).
      n_test: songs for the test split, with the ids above.
      duration_s: of every song, a multiple of 0.5.
      sample_rate: Hz.
      seed: decides all songs.
      validation_fraction: share of the clips.
    """

    n_clips: int = 112
    n_test: int = 24
    duration_s: float = 45.0
    sample_rate: int = 44_100
    seed: int = 0
    validation_fraction: float = 0.125


class Builder(SongBuilder):
    """Composes the songs, then reads them as DEAM's builder reads DEAM."""

    OPTIONS = SyntheticOptions

    def corpus(self, manual_dir: None) -> Corpus:
        folder = compose_corpus(
            Path(self.data_dir).parents[1],
            self.options,
            workers=self.workers,
            progress=self.progress,
        )
        protocol = DeamOptions(validation_fraction=self.options.validation_fraction)
        return deam_corpus(folder, protocol)


def compose_corpus(
    parent: Path, options: SyntheticOptions, *, workers: int = 1, progress: bool = False
) -> Path:
    """Writes the songs to a folder below `parent`, unless they are there; gives the folder."""
    if not 1 <= options.n_clips <= LAST_CLIP_ID or options.n_test < 0:
        raise CorpusError(f"n_clips must be within 1..{LAST_CLIP_ID} and n_test not negative")
    identity = {**dataclasses.asdict(options), "validation_fraction": None, "revision": REVISION}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    folder = parent / f"songs-{digest}"
    if folder.is_dir():
        return folder
    aside = parent / f"songs-{digest}.{os.getpid()}.tmp"
    ids = [*range(1, options.n_clips + 1)]
    ids += range(LAST_CLIP_ID + 1, LAST_CLIP_ID + options.n_test + 1)
    try:
        (aside / "MEMD_audio").mkdir(parents=True)
        curves = {}
        with pool(workers) as executor:
            # Seeds of different data sets must not overlap, whatever the number of songs.
            futures = [
                executor.submit(
                    _compose,
                    str(aside),
                    i,
                    [options.seed, i],
                    options.duration_s,
                    options.sample_rate,
                )
                for i in ids
            ]
            bar = tqdm(futures, "composing", unit="song", disable=not progress)
            for i, future in zip(ids, bar, strict=True):
                curves[i] = future.result()
        labels = aside / "annotations averaged per song" / "dynamic (per second annotations)"
        labels.mkdir(parents=True)
        for v, name in enumerate(("valence", "arousal")):
            write_curves(labels / f"{name}.csv", {i: curves[i][v] for i in ids})
        os.replace(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


def write_curves(path: Path, curves: dict[int, Sequence[float]]) -> None:
    """Writes a label file in DEAM's form, the first column at 0 ms."""
    n_segments = max(map(len, curves.values()))
    times_ms = (round(1000 * SEGMENT_S) * i for i in range(n_segments))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["song_id", *(f"sample_{time}ms" for time in times_ms)])
        for song_id, curve in curves.items():
            writer.writerow([song_id, *(f"{value:.6f}" for value in curve)])


def _compose(
    folder: str, song_id: int, seed: list[int], duration_s: float, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    song = compose_song(
        int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]),
        duration_s=duration_s,
        sample_rate=sample_rate,
    )
    path = os.path.join(folder, "MEMD_audio", f"{song_id}.flac")
    soundfile.write(path, song.samples, sample_rate, subtype="PCM_16", format="FLAC")
    return song.valence, song.arousal
