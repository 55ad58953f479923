"""The predictions file of a run: a row per segment of every song, with its labels."""

import csv
import os
from collections.abc import Iterable, Mapping

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS, Curve
from damff_jax.system.files import atomic_write

COLUMNS = ("song_id", "time_s", "valence", "arousal", "valence_true", "arousal_true")


class PredictionsError(ValueError):
    """A file that does not hold predictions with labels."""


def write(
    path: str | os.PathLike,
    curves: Mapping[str, Curve],
    times: Mapping[str, np.ndarray],
) -> None:
    """Writes a row per segment; a missing label is `nan`.

    Numbers have nine digits, so the float32 values are read back exactly.
    """
    with atomic_write(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for song_id, curve in curves.items():
            truth_TxV = np.where(curve.mask_TxV, curve.truth_TxV, np.nan)
            rows = zip(times[song_id], curve.prediction_TxV, truth_TxV, strict=True)
            for time, prediction_V, truth_V in rows:
                values = (f"{x:.9g}" for x in (*prediction_V, *truth_V))
                writer.writerow([song_id, f"{time:.1f}", *values])


def read(path: str | os.PathLike) -> tuple[dict[str, Curve], dict[str, np.ndarray]]:
    """Curves and the times (T,) of their rows in s, both by song id.

    Raises:
      PredictionsError: the file is missing or not a predictions file, a time or a prediction is not
        finite, or one of the dimensions has no labels.
    """
    songs: dict[str, list[list[float]]] = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != COLUMNS:
                raise PredictionsError(f"{path}: the columns are not {','.join(COLUMNS)}")
            for row in rows:
                values = [float(x) for x in row[1:]]
                if len(row) != len(COLUMNS) or not np.all(np.isfinite(values[:3])):
                    raise PredictionsError(f"{path}: line {rows.line_num}: {','.join(row)}")
                songs.setdefault(row[0], []).append(values)
    except OSError as error:
        raise PredictionsError(f"{path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        if isinstance(error, PredictionsError):
            raise
        raise PredictionsError(f"{path}: {error}") from error
    curves, times = {}, {}
    for song_id, values_Tx5 in songs.items():
        times_1xT, prediction_VxT, truth_VxT = np.split(np.transpose(values_Tx5), [1, 3])
        times[song_id] = times_1xT[0]
        curves[song_id] = Curve(prediction_VxT.T, truth_VxT.T, ~np.isnan(truth_VxT.T))
    for v, name in enumerate(DIMENSIONS):
        if not any(curve.mask_TxV[:, v].any() for curve in curves.values()):
            raise PredictionsError(f"{path}: no {name} labels")
    return curves, times


def read_disjoint(paths: Iterable[str | os.PathLike]) -> dict[str, Curve]:
    """The curves of several files, such as those of a study's folds, by song id.

    Raises:
      PredictionsError: a file cannot be read, see `read`, or a song is in two of them.
    """
    curves: dict[str, Curve] = {}
    for path in paths:
        more, _ = read(path)
        if both := curves.keys() & more.keys():
            raise PredictionsError(f"{path}: song {min(both)} is in another of the files too")
        curves |= more
    return curves
