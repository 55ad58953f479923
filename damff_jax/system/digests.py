"""SHA-256 digests of a folder's files, in the form that `sha256sum -c` reads."""

import hashlib
import os
from pathlib import Path

NAME = "SHA256SUMS"


def write(folder: Path) -> None:
    """Writes the digests of all files in a folder, and flushes everything to the disk.

    The digests are written last, atomically, so a folder that has them is complete.
    """
    lines = []
    for path in _files(folder):
        lines.append(f"{_digest(path, sync=True)}  {path.relative_to(folder).as_posix()}\n")
    # A comment to `sha256sum`; without it a truncated list would look complete.
    lines.append(_count(len(lines)))
    temporary = folder / f".{NAME}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / NAME)
    for parent, _, _ in os.walk(folder):
        sync_folder(parent)


def find_fault(folder: Path) -> str | None:
    """The first fault of a folder's files, or None if all are as written.

    Files added since, such as a file manager's, are not faults: nothing refers to them.
    """
    try:
        *lines, count = (folder / NAME).read_text(encoding="utf-8").splitlines(keepends=True)
        if count != _count(len(lines)):
            return f"{NAME}: truncated"
        wanted = {
            name: digest for digest, name in (line.rstrip("\n").split("  ", 1) for line in lines)
        }
        present = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        for name in sorted(wanted):
            if name not in present:
                return f"{name}: missing"
            # A link could lead to an endless file.
            if present[name].is_symlink() or not present[name].is_file():
                return f"{name}: not a regular file"
            if _digest(present[name]) != wanted[name]:
                return f"{name}: does not match its digest"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name}: missing"
    except (OSError, ValueError) as error:
        return f"{NAME}: unreadable ({' '.join(str(error).split())})"
    return None


def _count(n: int) -> str:
    return f"# {n} files\n"


def sync_folder(folder: str | os.PathLike) -> None:
    """Flushes a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    """Everything but folders; links included."""
    return sorted(
        path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
        if path != folder / NAME
    )  # fmt: skip


def _digest(path: Path, *, sync: bool = False) -> str:
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
