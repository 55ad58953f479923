"""One writer at a time in a workdir."""

import contextlib
import fcntl
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

NAME = ".lock"


class WorkdirInUseError(OSError):
    """Another process writes to the workdir; the message is one line."""


class WorkdirWarning(UserWarning):
    """The workdir's file system has no locks; the message is one line."""


@contextlib.contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
    """Locks a workdir, creating it if needed.

    The operating system releases the lock when the process ends, however that happens. The file
    stays: another process may already have opened it.

    Raises:
      WorkdirInUseError: another process holds it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / NAME, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise WorkdirInUseError(
                f"{workdir}: in use by another run (process {holder})"
            ) from None
        except OSError as error:
            message = (
                f"{workdir}: cannot be locked ({error.strerror}); do not use it for another run"
            )
            warnings.warn(message, WorkdirWarning, stacklevel=2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
