"""DAMFF in JAX/Flax: the valence and arousal of a song over time, twice a second.

    from damff_jax import Predictor

    curve = Predictor()("song.mp3")

Importing this package imports neither JAX nor TensorFlow, only using `Predictor` does: the worker
processes that compute features need no more than `damff_jax.audio` and `damff_jax.features`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from damff_jax.prediction.predictor import Predictor
    from damff_jax.report.curve import Band, Curve, Failure

__all__ = ["Band", "Curve", "Failure", "Predictor", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Predictor":
        from damff_jax.prediction import predictor

        return predictor.Predictor
    if name in ("Band", "Curve", "Failure"):
        from damff_jax.report import curve

        return getattr(curve, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
