"""Evaluating songs with labels: their curves, and the scores of these."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from damff_jax import metrics
from damff_jax.inference import Apply, Windowing, predict_curves


class LabelledSong(Protocol):
    """A song over the span of its labels: T segments, V = 2."""

    song_id: str
    log_mel_TxFxM: np.ndarray
    labels_TxV: np.ndarray
    mask_TxV: np.ndarray
    times_T: np.ndarray


def evaluate(
    apply: Apply, songs: Iterable[LabelledSong], *, windowing: Windowing, batch_size: int
) -> dict[str, metrics.Curve]:
    """Predicts every segment of every song once; curves by song id."""
    songs = list(songs)
    predictions = predict_curves(
        apply,
        ([song.log_mel_TxFxM] for song in songs),
        windowing=windowing,
        batch_size=batch_size,
    )
    return {
        song.song_id: metrics.Curve(prediction_TxV, song.labels_TxV, song.mask_TxV)
        for song, prediction_TxV in zip(songs, predictions, strict=True)
    }


def format_summary(split: str, summary: Mapping[str, Any]) -> str:
    """A small table of a split's scores."""
    lines = [
        f"{split}: {summary['n_songs']} songs, {summary['n_points']} points",
        f"  {'':<10}{'pooled':^24}{'per song':^24}{'within song':^24}",
        f"  {'':<10}" + f"{'CCC':>7}{'RMSE':>8}{'r':>7}  " * 3,
    ]
    for name in metrics.DIMENSIONS:
        cells = (
            f"{s['ccc']:7.3f}{s['rmse']:8.3f}{s['pearson']:7.3f}  "
            for way in ("pooled", "per_song", "within_song")
            if (s := summary[name][way])
        )
        lines.append(f"  {name:<10}" + "".join(cells))
    return "\n".join(lines)
