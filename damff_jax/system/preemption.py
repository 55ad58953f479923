"""SIGTERM and SIGINT end a process at a point where nothing is lost."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preempted(KeyboardInterrupt):
    """A signal has asked the process to end. Not an Exception, so error handlers let it pass."""

    def __init__(self, signal_number: int):
        self.signal = signal.Signals(signal_number)
        super().__init__(self.signal.name)

    @property
    def exit_status(self) -> int:
        """The status by which shells report such a process: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.signal


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within this context, a signal raises `Preempted` immediately."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise Preempted(signal_number)

    with _handled_by(stop):
        yield


@contextlib.contextmanager
def deferred(
    marked: Callable[[Preempted], Preempted] = lambda preempted: preempted,
) -> Iterator[Callable[[], int]]:
    """Within this context, signals wait; yields a function that returns the first one, or 0.

    `Preempted` is raised at the end, or immediately at the third signal: somebody insists.

    Args:
      marked: maps the exception to the one that is raised at the end.
    """
    received = []

    def note(signal_number: int, frame: FrameType | None) -> None:
        received.append(signal_number)
        if len(received) > 2:
            raise Preempted(received[0])

    with _handled_by(note):
        yield lambda: next(iter(received), 0)
    if received:
        raise marked(Preempted(received[0]))


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Within this context, signals wait; at the end, the first goes to its previous handler."""
    received = []
    with _handled_by(lambda signal_number, frame: received.append(signal_number)):
        yield
    if received:
        signal.raise_signal(received[0])


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    # Python delivers signals to its main thread, the only one that may set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
