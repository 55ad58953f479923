"""Binary file objects as files: decoders, which may be other processes, read paths."""

import os
import shutil
import tempfile
from typing import Any

from damff_jax import audio


def is_file_object(value: Any) -> bool:
    """Whether a value can be read, as an open file, a BytesIO or a web framework's upload can."""
    return callable(getattr(value, "read", None))


def name_of(file: Any) -> str:
    """A file object's name, for messages and results."""
    name = getattr(file, "name", None)
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else "<file object>"


def copied(file: Any) -> "tempfile._TemporaryFileWrapper[bytes]":
    """A temporary file with what a file object still has to read; removed when it is closed.

    Raises:
      AudioError: it gives text, or an error.
    """
    name = name_of(file)
    # Formats are recognised by content; the extension is kept for decoders that look at it.
    suffix = os.path.splitext(name)[1]
    copy = tempfile.NamedTemporaryFile(prefix="damff_jax_", suffix=suffix)  # noqa: SIM115
    try:
        shutil.copyfileobj(file, copy)
        copy.flush()
    except (TypeError, OSError, ValueError) as error:
        copy.close()
        if isinstance(error, TypeError):
            message = f"{name}: opened as text; open it in binary mode, 'rb'"
            raise audio.AudioError(message) from error
        raise audio.AudioError(f"{name}: {error}") from error
    return copy
