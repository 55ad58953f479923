"""Standard streams that do not end a command.

A terminal may lack characters, a reader such as `head` may leave early, a disk that the output
goes to may be full, and a stream may be closed from the start. None of it is a reason to leave
work undone.
"""

import contextlib
import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, TextIO

_Parameters = ParamSpec("_Parameters")


def robust(
    name: str, *, result_is_printed: bool = False
) -> Callable[[Callable[_Parameters, int]], Callable[_Parameters, int]]:
    """Decorates a command's `main`, which returns the exit status.

    Characters that a stream's encoding lacks are escaped. What cannot be written is dropped:
    silently if the reader has left, else with a line on standard error.

    Args:
      name: of the command, for that line.
      result_is_printed: the command's result is what it prints, so that losing it is status 1.
    """

    def decorate(main: Callable[_Parameters, int]) -> Callable[_Parameters, int]:
        @functools.wraps(main)
        def robust_main(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> int:
            with _robust_streams(name) as output:
                status = main(*args, **kwargs)
                output.flush()
            return 1 if result_is_printed and output.failed and not status else status

        return robust_main

    return decorate


def is_interactive() -> bool:
    """Whether standard error is a terminal that can show progress."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def _robust_streams(name: str) -> Iterator["_Stream"]:
    _occupy_closed_descriptors()
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        errors = _Stream(stack.enter_context(_escaping(sys.stderr)), lambda reason: None)

        def report(reason: str) -> None:
            print(f"{name}: warning: standard output is lost ({reason})", file=errors)

        output = _Stream(stack.enter_context(_escaping(sys.stdout)), report)
        sys.stdout, sys.stderr = output, errors
        try:
            yield output
        finally:
            output.flush()
            errors.flush()
            # Python flushes both at the end, and would complain about a stream that is lost.
            if not output.is_lost:
                sys.stdout = before[0]
            if not errors.is_lost:
                sys.stderr = before[1]


def _occupy_closed_descriptors() -> None:
    """Opens /dev/null for standard descriptors that are closed.

    The next files to be opened would get their numbers, and what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # The lowest that is free.
            os.set_inheritable(opened, True)


@contextlib.contextmanager
def _escaping(stream: TextIO | None) -> Iterator[TextIO]:
    """A stream that escapes what its encoding lacks; an endless sink instead of a closed one."""
    if stream is None or stream.closed:
        with open(os.devnull, "w", encoding="utf-8", errors="replace") as sink:
            yield sink
        return
    if not isinstance(stream, io.TextIOWrapper):
        yield stream
        return
    before = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield stream
    finally:
        # Fails, as any use, if the stream is lost.
        with contextlib.suppress(OSError, ValueError):
            stream.reconfigure(errors=before)


class _Stream:
    """A stream whose output is dropped from the first error on.

    Attributes:
      is_lost: whether there was one.
      failed: whether it was another one than that the reader has left.
    """

    def __init__(self, stream: TextIO, report: Callable[[str], None]):
        self._stream = stream
        self._report = report
        self.is_lost = self.failed = False

    def write(self, text: str) -> int:
        self._attempt(self._stream.write, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, action: Callable[..., object], *arguments: str) -> None:
        if self.is_lost:
            return
        try:
            action(*arguments)
        except OSError as error:
            self.is_lost = True
            if error.errno not in (errno.EPIPE, errno.EBADF):
                self.failed = True
                self._report(error.strerror or str(error))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
