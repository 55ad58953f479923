"""An audio file becomes samples: `stream` and `load` decode, `find` lists files."""

from damff_jax.audio.decoding import (
    EXTENSIONS,
    AudioError,
    AudioWarning,
    digest,
    find,
    load,
    stream,
)

__all__ = ["EXTENSIONS", "AudioError", "AudioWarning", "digest", "find", "load", "stream"]
