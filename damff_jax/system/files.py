"""Atomic writes: a file is written completely or not at all."""

import contextlib
import functools
import os
import platform
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
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
    """Opens a temporary file that is renamed to `path` at the end, or removed after an error.

    Raises:
      OSError: naming `path`.
    """
    folder, name = os.path.split(os.fspath(path))
    # Not derived from the whole name, which may be as long as the file system allows.
    temporary = os.path.join(folder, temporary_name(f".{zlib.crc32(os.fsencode(name)):08x}"))
    encoding = None if "b" in mode else "utf-8"
    try:
        with naming(path, temporary):
            with open(temporary, mode, encoding=encoding, newline=newline) as file:
                yield file
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_if_changed(path: str | os.PathLike, text: str) -> None:
    """Writes a file, unless it has this content already.

    Raises:
      OSError: it cannot be written.
    """
    with contextlib.suppress(OSError, ValueError):
        if Path(path).read_text(encoding="utf-8") == text:
            return
    with atomic_write(path) as file:
        file.write(text)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], *others: str) -> Iterator[None]:
    """Makes an OSError name `path` if it names no file, as for a full disk, or one of `others`."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, *others):
            raise _named(error, path) from error
        raise


def _named(error: OSError, path: str | os.PathLike[str]) -> OSError:
    if error.errno is None:  # Raised by a library, with a text only.
        return OSError(f"{os.fsdecode(path)}: {error}")
    return OSError(error.errno, error.strerror, os.fspath(path))


def temporary_name(stem: str, pid: int | None = None) -> str:
    """A name of a file or folder of a process, this one by default; see `remove_left_behind`."""
    return f"{stem}.{_machine()}.{pid or os.getpid()}.tmp"


@functools.cache
def _machine() -> str:
    """Identifies what gave this process its number: several machines may share a folder."""
    # Containers of one image may have equal names, but each numbers its processes by itself.
    space = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    return f"{zlib.crc32(os.fsencode(f'{platform.node()} {space}')):08x}"


def remove_left_behind(folder: str | os.PathLike[str]) -> None:
    """Removes the files and folders that killed processes have left under a `temporary_name`.

    Those of other machines stay, because their processes may be running.
    """
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if _is_left_behind(entry.name)]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _is_left_behind(name: str) -> bool:
    match = re.search(r"\.([0-9a-f]{8})\.([1-9]\d{0,8})\.tmp$", name, re.ASCII)
    if match is None or match[1] != _machine():
        return False
    try:
        os.kill(int(match[2]), 0)  # Signal 0 only checks that the process exists.
    except ProcessLookupError:
        return True
    except OSError:
        return False  # It is running, as another user.
    return False
