"""Audio files in folders: which there are, and their content as it lies on the disk."""

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterator

from damff_jax.audio.errors import AudioError, AudioWarning
from damff_jax.system import folders

# Folders are searched for these; a file that is named itself is read whatever its name.
EXTENSIONS = (
    *(".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".wma", ".aiff", ".aif", ".aifc"),
    *(".mp4", ".webm", ".mkv", ".mka", ".oga", ".m4b", ".caf", ".au", ".snd", ".ac3", ".eac3"),
    *(".amr", ".w64", ".rf64", ".bwf", ".wave", ".mp2", ".mpga", ".mov", ".m4v", ".3gp", ".avi"),
    *(".wmv", ".asf", ".flv", ".ts", ".mpg", ".mpeg", ".ogv", ".ogx", ".spx", ".ape", ".wv"),
    *(".tta", ".tak", ".mpc", ".dts", ".dsf", ".alac", ".voc", ".weba"),
)
# Scores, encrypted sound, and what FFmpeg has no decoder for.
_NOT_READ = (".mid", ".midi", ".kar", ".mod", ".xm", ".it", ".s3m", ".m4p", ".aax", ".aa", ".gsm")


def find(directory: str | os.PathLike[str]) -> Iterator[str]:
    """Paths of the audio files below a directory, sorted, by their extensions; no hidden files.

    Links to folders are followed, and no folder is entered twice. An AudioWarning each names the
    folders that cannot be listed, and the files whose extension is that of sound that is not read.
    """
    for folder, names in folders.walk(directory, _warn_of_folder):
        for name in names:
            extension = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if extension in EXTENSIONS:
                yield os.path.join(folder, name)
            elif extension in _NOT_READ:
                path = os.path.join(folder, name)
                _warn(f"{path}: left out, because {extension} is not read as audio")


def digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, in hexadecimal digits.

    Raises:
      AudioError: the file is missing, unreadable or not a regular one.
    """
    with open_regular(path) as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def open_regular(path: str | os.PathLike[str]) -> io.FileIO:
    """Opens a file for reading, without a buffer.

    Raises:
      AudioError: the file is missing, unreadable or not a regular one.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise AudioError(f"{path}: not a regular file")
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror}") from error


def _warn_of_folder(folder: str, reason: str) -> None:
    _warn(f"{folder}: folder left out ({reason})")


def _warn(message: str) -> None:
    warnings.warn(message, AudioWarning, stacklevel=3)
