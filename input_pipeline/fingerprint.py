"""Fingerprints of a user's files, which tell whether a data set was built from these files."""

import concurrent.futures
import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from damff_jax import audio
from damff_jax.system import folders

if TYPE_CHECKING:
    from input_pipeline.base import SongBuilder


def fingerprint(
    cls: type["SongBuilder"], manual_dir: str | os.PathLike, sounds: Iterable[str]
) -> str:
    """A hash of all that decides which songs are built, and what they sound like.

    Content counts, never sizes or times: clips of one length have one size, and copies keep times.
    Sound files that no song uses count by their names only, since there may be any number of them.

    Args:
      cls: the data set; if it is a plug-in, its code counts too.
      manual_dir: the folder of the user's files.
      sounds: paths, relative to the folder, of the sound files that songs are made from.
    """
    digest = hashlib.sha256(_of_labels(manual_dir, cls.LABEL_FILES, cls.SOUND_FILES))
    digest.update(_of_sounds(manual_dir, sorted(sounds)))
    return f"{digest.hexdigest()}-{cls.code_digest}" if cls.code_digest else digest.hexdigest()


def _of_labels(
    manual_dir: str | os.PathLike, label_files: Sequence[str], sound_files: Sequence[str]
) -> bytes:
    """A hash of the label files' names and content, and of the sound files' names."""

    def is_one(relative: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatch(relative.lower(), pattern.lower()) for pattern in patterns)

    def unreadable(folder: str, reason: str) -> None:
        digest.update(f"{folder}\0{reason}\0".encode(errors="surrogateescape"))

    digest = hashlib.sha256()
    for root, names in folders.walk(manual_dir, unreadable):
        for name in names:
            path = os.path.join(root, name)
            relative = os.path.relpath(path, manual_dir)
            is_labels = is_one(relative, label_files)
            if is_labels or is_one(relative, sound_files):
                digest.update(f"{relative}\0".encode(errors="surrogateescape"))
            if is_labels and os.path.exists(path) and stat.S_ISREG(os.stat(path).st_mode):
                with open(path, "rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def _of_sounds(manual_dir: str | os.PathLike, sounds: Sequence[str]) -> bytes:
    digest = hashlib.sha256()
    paths = [os.path.join(manual_dir, relative) for relative in sounds]
    # Threads, because hashing leaves Python's lock to others.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as executor:
        for relative, content in zip(sounds, executor.map(_of_sound, paths), strict=True):
            digest.update(f"{relative}\0{content}\0".encode(errors="surrogateescape"))
    return digest.digest()


def _of_sound(path: str) -> str:
    try:
        return audio.digest(path)
    except audio.AudioError:
        return "unreadable"
