"""Curves and pages for the tests of pages."""

import dataclasses

import numpy as np

from damff_jax.report.song_page import Details, Download


@dataclasses.dataclass
class Band:
    level: float
    low_TxV: np.ndarray
    high_TxV: np.ndarray


@dataclasses.dataclass
class Curve:
    source: str
    times: np.ndarray
    valence: np.ndarray
    arousal: np.ndarray
    model: str = "trained on synthetic songs only"
    band: Band | None = None
    lag_s: float | None = None
    unlikeness: float | None = None
    remarks: tuple[str, ...] = ()


def curve(source="song.wav", n=24, *, band=False, **more):
    """A curve whose valence rises from -0.8 to 0.8, and whose arousal is a wave."""
    valence_T = np.linspace(-0.8, 0.8, n)
    arousal_T = 0.6 * np.sin(np.arange(n) / 3)
    values_TxV = np.stack([valence_T, arousal_T], axis=1)
    limits = Band(0.8, values_TxV - 0.15, values_TxV + 0.15) if band else None
    return Curve(str(source), 0.5 * np.arange(n), valence_T, arousal_T, band=limits, **more)


def details(n=24, **more):
    """Details of such a curve, with a picture and two downloads."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 10 * n), np.uint8)
    downloads = [
        Download("CSV", "for spreadsheets", ".csv", "text/csv", "time_s\n" + "0.5\n" * n),
        Download("JSON", "for programs", ".json", "application/json", '{"name": "夜"}'),
    ]
    model = {"Weights": "small", "Digest": "0123abcd"}
    return Details(picture=picture, downloads=downloads, model=model, context_s=(1, 1), **more)
