"""Where files are: local paths. The one place that knows of other stores."""

import argparse
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Two characters or more: a single one is a drive's letter.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Paths that every library takes for what they are: no pattern, no escape, valid Unicode.
_PLAIN = re.compile(r"[A-Za-z0-9_./ +=@,-]*")
_MAX_NAME, _MAX_PATH = 255, 4096


class PlaceError(argparse.ArgumentTypeError, ValueError):
    """A place where files cannot be read or written; the message is one line."""


def local(path: str) -> str:
    """A path as it is, if it is local; also usable as a type of argparse.

    A store in the cloud would be supported here: by its scheme, for all commands.

    Raises:
      PlaceError: it is a URL.
    """
    if match := _SCHEME.match(path):
        raise PlaceError(
            f"{path}: {match[0]} is not supported, only local paths; mount it or copy the files"
        )
    return path


def check_local(**settings: str | os.PathLike | None) -> None:
    """Checks settings that are paths; empty ones are unused.

    Raises:
      PlaceError: one of them is a URL; the message names the setting.
    """
    for name, path in settings.items():
        try:
            local(os.fspath(path or ""))
        except PlaceError as error:
            raise PlaceError(f"--{name}={error}") from None


def check_exists(path: str | os.PathLike, *, folder: bool = False) -> None:
    """Checks that there is a file or folder that a command line names; status 2 if not.

    Raises:
      PlaceError: there is none, or it is no folder although `folder` wants one.
    """
    if not os.path.exists(path):
        raise PlaceError(f"{os.fsdecode(path)}: {os.strerror(errno.ENOENT)}")
    if folder and not os.path.isdir(path):
        raise PlaceError(f"{os.fsdecode(path)}: {os.strerror(errno.ENOTDIR)}")


def check_unicode(**settings: str | os.PathLike | None) -> None:
    """Checks settings that are paths for libraries which take only Unicode.

    Raises:
      PlaceError: one of them is not UTF-8; the message names the setting.
    """
    for name, path in settings.items():
        try:
            os.fspath(path or "").encode()
        except UnicodeEncodeError:
            shown = os.fsencode(path or "").decode(errors="backslashreplace")
            raise PlaceError(f"--{name}={shown}: not UTF-8; use another folder") from None


def check_room(folder: str | os.PathLike) -> None:
    """Checks that the names of files below a folder can be as long as a name may be.

    Raises:
      PlaceError: the folder's path is too long.
    """
    length = len(os.fsencode(os.path.abspath(folder)))
    if length > _MAX_PATH - 2 * (_MAX_NAME + 1):
        shown = os.fsdecode(folder)
        raise PlaceError(
            f"{shown[:80]}…{shown[-20:]}: a path of {length} bytes leaves no room for the names "
            "of the files in it; use a shorter one"
        )


@contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """A path of an existing folder that every library takes for what it is.

    TensorStore and Orbax take brackets for a pattern, a backslash for an escape, and only UTF-8.
    For a folder whose path has such characters, this is a symbolic link, which is removed at the
    end.
    """
    if is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="damff_jax_") as temporary:
        link = Path(temporary, "folder")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


def is_plain(path: Path) -> bool:
    """Whether a path's characters mean themselves to all libraries."""
    return _PLAIN.fullmatch(str(path.absolute())) is not None
