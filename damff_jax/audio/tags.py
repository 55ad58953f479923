"""The name of a song, from the tags in its file."""

import os
from typing import NamedTuple


class Tags(NamedTuple):
    """What a file says that it is; empty where it says nothing."""

    title: str = ""
    artist: str = ""


def read(path: str | os.PathLike[str]) -> Tags:
    """The tags of a file; empty ones if it has none or cannot be read."""
    try:
        import av
    except ImportError:
        return Tags()
    try:
        # Invalid text is no reason to go without the name.
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            # Ogg has its tags on the stream.
            sources = [container.metadata, *(s.metadata for s in container.streams.audio)]
    except (av.FFmpegError, OSError, ValueError):
        return Tags()
    found: dict[str, str] = {}
    for source in sources:
        for key, value in source.items():
            found.setdefault(key.lower(), value.strip())
    return Tags(found.get("title", ""), found.get("artist", ""))
