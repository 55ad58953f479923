"""The name of a song, from the tags in its file."""

import os
from typing import NamedTuple

import av

from damff_jax.audio.opening import Nameless, open_container


class Tags(NamedTuple):
    """What a file says that it is; empty where it says nothing."""

    title: str = ""
    artist: str = ""


def read(path: str | os.PathLike[str]) -> Tags:
    """The tags of a file; empty ones if it has none or cannot be read."""
    try:
        with (
            # What FFmpeg notes about the file is reported where its sound is decoded.
            av.logging.Capture(),
            open(path, "rb", buffering=0) as raw,
            open_container(Nameless(raw)) as opened,
        ):
            # In Ogg files, a stream has the tags.
            sources = [opened.metadata, *(x.metadata for x in opened.streams.audio)]
    except (av.FFmpegError, OSError, ValueError, MemoryError):
        return Tags()
    found: dict[str, str] = {}
    for source in sources:
        for key, value in source.items():
            found.setdefault(key.lower(), " ".join(value.split()))
    return Tags(found.get("title", ""), found.get("artist", ""))
