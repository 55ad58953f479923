"""What decoders know about a file and tell in a log, or on standard error, alone.

Of a file cut short it counts the frames that are left, and of a damaged one it reads on behind the
damage; either is an error to whoever wanted the whole song.
"""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator

import soundfile

from damff_jax.audio import wav

_SIZES = re.compile(r"^ *(?:data|Data Size|SSND|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_ERROR_OF_MPG123 = re.compile(rb"libmpg123/.*\berror: (.*)")
_WARNING_OF_MPG123 = re.compile(rb".*libmpg123/|Warning: Xing ")
# One standard error for all threads.
_STANDARD_ERROR = threading.Lock()
_COUNTS = re.compile(
    r"from 'ds64' chunk of (\d+)|read from 'COMM' chunk \((\d+)\) not equal", re.MULTILINE
)
_NO_END = ("lacks an end-of-stream bit", "without an End-Of-Stream flag")


def declared_frames(file: soundfile.SoundFile) -> int | None:
    """The length that the header states, where it states one."""
    log = file.extra_info
    if count := _COUNTS.search(log):
        return int(count[1] or count[2])
    cut = _SIZES.search(log)
    if cut and not wav.is_unknown(int(cut[1])) and int(cut[2]):
        return -(-file.frames * int(cut[1]) // int(cut[2]))
    return file.frames if file.frames < 2**62 else None


def trouble_of_ogg(file: soundfile.SoundFile) -> str:
    """What of an ogg stream is missing; '' for nothing."""
    log = file.extra_info
    if any(words in log for words in _NO_END):
        return "the ogg stream has no end"
    if "unk after the last page" in log:
        return "something else behind the ogg stream"
    if "reports a hole" in log or "looking for the next page" in log:
        return "the ogg stream has holes"
    return ""


@contextlib.contextmanager
def errors_of_mpg123() -> Iterator[list[str]]:
    """Catches what libmpg123 writes to standard error, the only place where it tells of damage.

    Gives a list that holds its errors at the end. What others write there meanwhile is passed on.
    """
    errors: list[str] = []
    with _STANDARD_ERROR, contextlib.ExitStack() as stack:
        try:
            # Not a pipe, which would fill up.
            file = stack.enter_context(tempfile.TemporaryFile())
            saved = os.dup(2)
        except OSError:  # A process need not have a standard error, nor a disk room for it.
            yield errors
            return
        stack.callback(os.close, saved)
        try:
            os.dup2(file.fileno(), 2)
            yield errors
        finally:
            os.dup2(saved, 2)
            file.seek(0)
            for line in file:
                if error := _ERROR_OF_MPG123.search(line):
                    errors.append(error[1].decode(errors="replace"))
                elif not _WARNING_OF_MPG123.match(line):
                    os.write(2, line)
