"""DAMFF in JAX/Flax: the valence and arousal of a song over time, twice a second.

Importing this package imports neither JAX nor TensorFlow: the worker processes that compute
features use only `damff_jax.audio` and `damff_jax.features`.
"""

__version__ = "0.1.0"
