"""Curves of songs with labels."""

from collections.abc import Iterable

from damff_jax.evaluation.inference import Apply, Windowing, predict_curves
from damff_jax.evaluation.metrics import Curve
from damff_jax.songs import Song


def labelled_curves(
    apply: Apply, songs: Iterable[Song], *, windowing: Windowing, batch_size: int
) -> dict[str, Curve]:
    """Predicts every segment of every song once; curves by song id."""
    songs = list(songs)
    predictions = predict_curves(
        apply,
        ([song.log_mel_TxFxM] for song in songs),
        windowing=windowing,
        batch_size=batch_size,
    )
    return {
        song.song_id: Curve(prediction_TxV, song.labels_TxV, song.mask_TxV)
        for song, prediction_TxV in zip(songs, predictions, strict=True)
    }
