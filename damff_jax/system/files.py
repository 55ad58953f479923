"""Writing files whole or not at all."""

import contextlib
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from typing import IO, Literal, overload


@overload
def atomic_write(
    path: str | os.PathLike[str], mode: Literal["w"] = "w", *, newline: str | None = None
) -> contextlib.AbstractContextManager[IO[str]]: ...


@overload
def atomic_write(
    path: str | os.PathLike[str], mode: Literal["wb"]
) -> contextlib.AbstractContextManager[IO[bytes]]: ...


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: str = "w", *, newline: str | None = None
) -> Iterator[IO]:
    """Opens a file beside `path` that takes its place at the end, and is gone after an error.

    Raises:
      OSError: naming `path`.
    """
    folder, name = os.path.split(os.fspath(path))
    # Shorter than the name itself can be, which may be as long as the file system allows.
    aside = os.path.join(folder, f".{zlib.crc32(os.fsencode(name)):08x}.{os.getpid()}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with naming(path, aside):
            with open(aside, mode, encoding=encoding, newline=newline) as file:
                yield file
            os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], *others: str) -> Iterator[None]:
    """Has an OSError name a file, if it names none, as for a full disk, or one of the others."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, *others):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def remove_left_behind(folder: str | os.PathLike[str]) -> None:
    """Removes what killed processes have left in a folder: files and folders `*.<pid>.tmp`."""
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if _is_left_behind(entry.name)]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _is_left_behind(name: str) -> bool:
    match = re.search(r"\.([1-9]\d{0,8})\.tmp$", name, re.ASCII)
    if match is None:
        return False
    try:
        os.kill(int(match[1]), 0)  # Signal 0 only asks.
    except ProcessLookupError:
        return True
    except OSError:
        return False  # It lives, and is another user's.
    return False
