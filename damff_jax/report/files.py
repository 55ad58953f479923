"""Writing a report's file."""

import contextlib
import os
from pathlib import Path

from damff_jax.system.files import atomic_write


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
