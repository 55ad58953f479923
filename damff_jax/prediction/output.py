"""The files of a song's curve: CSV, JSON, PNG (or SVG, PDF), HTML."""

import json
import os
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report import page
from damff_jax.system.command_line import printable
from damff_jax.system.files import atomic_write

if TYPE_CHECKING:
    from damff_jax.prediction.predictor import Prediction, Predictor

# Kinds of files besides the CSV.
_SUFFIXES = {"plot": ".png", "html": ".html", "json": ".json"}
KINDS = tuple(_SUFFIXES)


def exists(
    stem: str | os.PathLike, kinds: Collection[str] = (), *, plot_format: str = "png"
) -> bool:
    """Whether all files exist that `write` would write. It writes no incomplete ones."""
    of_kind = {**_SUFFIXES, "plot": f".{plot_format}"}
    suffixes = [".csv", *(of_kind[kind] for kind in kinds)]
    return all(os.path.isfile(f"{os.fspath(stem)}{suffix}") for suffix in suffixes)


def write(
    stem: str | os.PathLike,
    path: str,
    prediction: "Prediction",
    predictor: "Predictor",
    *,
    kinds: Collection[str] = (),
    plot_format: str = "png",
    plot_plane: bool = False,
) -> None:
    """Writes `<stem>.csv`, and other files on request; makes their folder.

    Args:
      path: the audio file, whose name is shown.
      kinds: some of `KINDS`.
      plot_format: of the plot, its file's extension: png, svg or pdf.
      plot_plane: whether the plot has the path on the plane beside the curves.

    Raises:
      OSError: a file cannot be written.
    """
    source, curve_TxV = printable(os.path.basename(path)), prediction.curve_TxV
    times_T = SEGMENT_SECONDS * np.arange(len(curve_TxV))
    os.makedirs(os.path.dirname(os.fspath(stem)) or ".", exist_ok=True)
    with atomic_write(f"{stem}.csv") as file:
        file.write("time_s,valence,arousal\n")
        for time, (valence, arousal) in zip(times_T, curve_TxV, strict=True):
            file.write(f"{time:.1f},{valence:.6f},{arousal:.6f}\n")
    if "json" in kinds:
        with atomic_write(f"{stem}.json") as file:
            json.dump(
                {
                    "source": source,
                    "model": predictor.origin,
                    "names": ["valence", "arousal"],
                    "scale": [-1, 1],
                    "hop_s": SEGMENT_SECONDS,
                    "time_origin": "start of the file; a time is the start of its segment",
                    "lag_s": predictor.lag_s,
                    "unlikeness": prediction.unlikeness,
                    "time_s": times_T.tolist(),
                    "values": [[round(float(x), 6) for x in row] for row in curve_TxV],
                },
                file,
            )
    if "plot" in kinds:
        # Matplotlib is an extra, and takes a second to import.
        from damff_jax.report import plots

        plots.plot_curve(
            f"{stem}.{plot_format}",
            source,
            times_T,
            curve_TxV,
            notes=_notes(prediction, predictor),
            plane=plot_plane,
        )
    if "html" in kinds:
        notes = _notes(prediction, predictor)
        page.write_html(f"{stem}.html", source, times_T, curve_TxV, notes=notes)


def _notes(prediction: "Prediction", predictor: "Predictor") -> list[str]:
    """Sentences for the page about the model, the curve's times, and the input."""
    notes = [f"The model was {predictor.origin}.", "A time is the start of its segment of 0.5 s."]
    if predictor.lag_s is not None:
        notes.append(f"The curve lags {predictor.lag_s:.1f} s behind the sound.")
    if prediction.unlikeness is not None and prediction.unlikeness > 1:
        notes.append("This file is unlike the training songs: the curve is not reliable.")
    return notes
