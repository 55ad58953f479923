"""DAMFF in JAX/Flax: a valence and an arousal curve of a song, 2 values a second.

Importing this package imports neither JAX nor TensorFlow: the worker processes that compute
features use `damff_jax.audio` and `damff_jax.features` alone.
"""

__version__ = "0.1.0"
