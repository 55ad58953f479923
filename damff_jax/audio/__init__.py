"""An audio file becomes samples: `stream` and `load` decode, `find` lists files."""

from damff_jax.audio.decoding import declared_seconds, load, sample_rate, stream
from damff_jax.audio.errors import AudioError, AudioWarning
from damff_jax.audio.files import EXTENSIONS, digest, find

__all__ = [
    "EXTENSIONS",
    "AudioError",
    "AudioWarning",
    "declared_seconds",
    "digest",
    "find",
    "load",
    "sample_rate",
    "stream",
]
