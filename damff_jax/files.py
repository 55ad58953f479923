"""Writing files whole or not at all."""

import contextlib
import os
import zlib
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def write_aside(path: str | os.PathLike, mode: str = "w", **kwargs) -> Iterator[IO]:
    """Opens a file beside `path` that takes its place at the end, and is gone after an error."""
    folder, name = os.path.split(os.fspath(path))
    # Shorter than the name itself can be, which may be as long as the file system allows.
    aside = os.path.join(folder, f".{zlib.crc32(os.fsencode(name)):08x}.{os.getpid()}.tmp")
    if "b" not in mode:
        kwargs.setdefault("encoding", "utf-8")
    try:
        with open(aside, mode, **kwargs) as file:
            yield file
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise
