"""Folders and their files, through links too; what cannot be listed is reported."""

import os
from collections.abc import Callable, Iterator


def walk(
    directory: str | os.PathLike[str], unreadable: Callable[[str, str], None]
) -> Iterator[tuple[str, list[str]]]:
    """Every folder below a directory, and itself, with the sorted names of its files.

    Links to folders are followed. A folder that can be reached in several ways, as in a cycle of
    links, is listed once. Whatever is not a folder counts as a file, such as a broken link.

    Args:
      directory: where to begin.
      unreadable: is called with the path of a folder that cannot be listed, and the reason.
    """
    seen: set[str] = set()
    pending = [os.fspath(directory)]
    while pending:
        folder = pending.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                is_folder = {entry.name: _is_folder(entry) for entry in entries}
        except OSError as error:
            unreadable(folder, error.strerror or str(error))
            continue
        names = sorted(is_folder)
        yield folder, [name for name in names if not is_folder[name]]
        pending += [os.path.join(folder, name) for name in reversed(names) if is_folder[name]]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # For example, a cycle of links.
        return False
