"""Writes a corpus like DEAM: real label rows, and music composed from them.

Command: python -m tests.make_deam_corpus --labels=DIR --output_dir=DIR --clips=40 --full_songs=6

For use with DEAM's labels but without its audio. The label files hold lines of the release; the
audio is composed from their curves by the synthetic data set's composer, as mp3 with DEAM's names
and folders. The same arguments give the same files, whatever the number of processes.
"""

import argparse
import functools
import os
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from input_pipeline.annotations import Alignment, Curve, align, canonical_id, read_curves
from input_pipeline.extraction import pool
from input_pipeline.synthetic.composer import SEGMENT_S, compose_song

AUDIO = Path("DEAM_audio", "MEMD_audio")
LABELS = Path(
    "DEAM_Annotations",
    "annotations",
    "annotations averaged per song",
    "dynamic (per second annotations)",
)
FILES = ("valence.csv", "arousal.csv")
# Not imported from the builder, which would load TensorFlow in the composing processes.
LAST_CLIP_ID = 2000
# The audio of the last clip ends this much before its labels.
SHORT_BY_S = 1.0


def make_corpus(
    labels: Path,
    output_dir: Path,
    *,
    clips: int,
    full_songs: int,
    sample_rate: int = 44_100,
    workers: int = 1,
) -> list[str]:
    """Writes the corpus and returns its song ids.

    Args:
      labels: the folder with valence.csv and arousal.csv.
      output_dir: folder for DEAM_audio and DEAM_Annotations.
      clips, full_songs: the number of each; see `choose`.
      sample_rate: of the mp3 files in Hz, one that MPEG supports.
      workers: processes that compose.

    Raises:
      LabelError, ValueError: the labels cannot be read, or there are too few songs.
    """
    curves = [read_curves(labels / name) for name in FILES]
    ids = choose(align(*curves), clips, full_songs)
    (output_dir / AUDIO).mkdir(parents=True, exist_ok=True)
    (output_dir / LABELS).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        header, *rows = (labels / name).read_bytes().splitlines(keepends=True)
        chosen = (row for row in rows if canonical_id(row.split(b",")[0].decode()) in ids)
        (output_dir / LABELS / name).write_bytes(header + b"".join(chosen))
    last_clip = max((i for i in ids if int(i) <= LAST_CLIP_ID), key=int)
    jobs = [(i, *(c[i] for c in curves), SHORT_BY_S * (i == last_clip)) for i in ids]
    compose = functools.partial(_compose, output_dir / AUDIO, sample_rate)
    with pool(workers) as executor:
        composed = executor.map(compose, *zip(*jobs, strict=True))
        for _ in tqdm(composed, "composing", len(ids), unit="song", disable=None):
            pass
    return ids


def choose(alignment: Alignment, clips: int, full_songs: int) -> list[str]:
    """Chooses song ids: clips at even intervals, and the shortest full songs.

    Songs with missing labels or curves of unequal length are preferred, up to half of each kind.

    Raises:
      ValueError: there are too few songs.
    """
    odd = {*alignment.unequal_lengths, *alignment.interior_gaps}
    by_length = sorted(alignment.labels, key=lambda i: (len(alignment.labels[i]), int(i)))
    kinds = [
        (clips, sorted((i for i in by_length if int(i) <= LAST_CLIP_ID), key=int), True),
        (full_songs, [i for i in by_length if int(i) > LAST_CLIP_ID], False),
    ]
    ids = []
    for n, candidates, evenly in kinds:
        if not 0 < n <= len(candidates):
            raise ValueError(f"{n} songs requested, but there are only {len(candidates)}")
        chosen = [i for i in candidates if i in odd][: n // 2]
        rest = [i for i in candidates if i not in chosen]
        n -= len(chosen)
        places = np.linspace(0, len(rest) - 1, n).astype(int) if evenly else range(n)
        ids += sorted(chosen + [rest[place] for place in places], key=int)
    return ids


def _compose(
    folder: Path, sample_rate: int, song_id: str, valence: Curve, arousal: Curve, short_by_s: float
) -> None:
    n_segments = max(*valence, *arousal) + 1
    # Constant before the first label and after the last, and interpolated linearly across gaps.
    curves = (
        np.interp(range(n_segments), list(curve), list(curve.values()))
        for curve in (dict(sorted(valence.items())), dict(sorted(arousal.items())))
    )
    song = compose_song(
        int(song_id),
        duration_s=SEGMENT_S * n_segments,
        sample_rate=sample_rate,
        **dict(zip(("valence", "arousal"), curves, strict=True)),
    )
    samples = song.samples[: len(song.samples) - round(short_by_s * sample_rate)]
    soundfile.write(folder / f"{song_id}.mp3", samples, sample_rate, format="MP3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--full_songs", type=int, default=6)
    parser.add_argument("--sample_rate", type=int, default=44_100)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    try:
        ids = make_corpus(**vars(parser.parse_args()))
    except ValueError as error:
        parser.error(str(error))
    print(*ids)


if __name__ == "__main__":
    main()
