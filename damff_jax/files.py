"""Writing files whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def write_aside(path: str | os.PathLike, mode: str = "w", **kwargs) -> Iterator[IO]:
    """Opens a file beside `path` that takes its place at the end, and is gone after an error."""
    aside = f"{os.fspath(path)}.{os.getpid()}.tmp"
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
