"""Curves for the tests of pages."""

import numpy as np

from damff_jax.report.curve import Band, Curve


def make_curve(source="song.wav", n=24, *, band=False, **more):
    """A curve whose valence rises from -0.8 to 0.8, and whose arousal is a wave."""
    valence_T = np.linspace(-0.8, 0.8, n)
    arousal_T = 0.6 * np.sin(np.arange(n) / 3)
    values_TxV = np.stack([valence_T, arousal_T], axis=1)
    return Curve(
        str(source),
        "trained on synthetic songs only",
        0.5 * np.arange(n),
        valence_T,
        arousal_T,
        band=Band(0.8, values_TxV - 0.15, values_TxV + 0.15) if band else None,
        **{
            "weights": {"Weights": "small", "Digest": "0123abcd"},
            "picture": np.random.default_rng(0).integers(0, 256, (64, 10 * n), np.uint8),
            **more,
        },
    )
