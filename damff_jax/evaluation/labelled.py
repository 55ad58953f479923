"""Curves of songs with labels."""

from collections.abc import Iterable, Iterator

import numpy as np

from damff_jax.evaluation.inference import Apply, Windowing, predict_curves
from damff_jax.evaluation.metrics import Curve
from damff_jax.songs import Song


def labelled_curves(
    apply: Apply, songs: Iterable[Song], *, windowing: Windowing, batch_size: int
) -> dict[str, Curve]:
    """Predicts every segment of every song once; curves by song id.

    Songs are taken one after the other, and only their labels are kept.
    """
    labels: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def streams() -> Iterator[list[np.ndarray]]:
        for song in songs:
            labels[song.song_id] = song.labels_TxV, song.mask_TxV
            yield [song.log_mel_TxFxM]

    predictions = predict_curves(apply, streams(), windowing=windowing, batch_size=batch_size)
    curves = list(predictions)
    return {
        song_id: Curve(prediction_TxV, *labels[song_id])
        for song_id, prediction_TxV in zip(labels, curves, strict=True)
    }
