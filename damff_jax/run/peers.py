"""What a process does when another one is gone: it says so in one line, and ends with status 1.

JAX notices it in one of two ways: a collective fails, which raises an error in the main thread, or
heartbeats stop, at which JAX aborts the process. Neither says reliably who is gone. So every
process has a socket that the others try to connect to: the operating system closes it at once when
its process ends, however that happens.
"""

import ctypes
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from damff_jax.run import checkpoint_files
from damff_jax.run.checkpoint_errors import CheckpointError

# A process whose machine is silent for so long is gone. Heartbeats have threads that no work of
# Python's delays.
HEARTBEAT_SECONDS = 15
_CONNECT_SECONDS = 3.0
# Within it the other survivors find this process alive.
_LINGER_SECONDS = 2.0
_OF_CONNECTIONS = re.compile(
    r"gloo|nccl|coordination|socket closed|connection|unavailable|heartbeat", re.IGNORECASE
)


class Peers:
    """The other processes of a run.

    Args:
      program: the name for messages.
    """

    def __init__(self, program: str):
        self._program = program
        self._workdir: Path | None = None
        self._others: dict[int, tuple[str, int]] = {}
        self._status: int | None = None
        self._once = threading.Lock()
        self._socket: socket.socket | None = None

    def listen(self) -> str:
        """Opens the socket; returns HOST:PORT, at which the others find this process."""
        self._socket = socket.create_server(("", 0), backlog=1024)
        return f"{socket.gethostname()}:{self._socket.getsockname()[1]}"

    def meet(self, addresses: list[str], own: int) -> None:
        """Gets the addresses of all processes; from now on their loss is reported."""
        for number, address in enumerate(addresses):
            if number != own:
                host, _, port = address.rpartition(":")
                self._others[number] = (host, int(port))
        self._handle_aborts()

    def saving_to(self, workdir: Path) -> None:
        """From now on, messages tell the last step that is saved in this workdir."""
        self._workdir = workdir

    def part(self, status: int) -> None:
        """This process ends with a status: the others find it gone, nothing is reported here."""
        self._status = status
        if self._socket is not None:
            self._socket.close()

    def explain(self, error: BaseException) -> None:
        """Ends this process if an error is due to the loss of another one; otherwise returns."""
        if isinstance(error, Exception) and _OF_CONNECTIONS.search(str(error)):
            self._end()

    def gone(self) -> list[int]:
        """The processes that do not answer."""

        def check(number: int) -> None:
            try:
                socket.create_connection(self._others[number], _CONNECT_SECONDS).close()
            except OSError:
                silent.append(number)

        silent: list[int] = []
        checks = [threading.Thread(target=check, args=(n,), daemon=True) for n in self._others]
        for thread in checks:
            thread.start()
        for thread in checks:
            thread.join(2 * _CONNECT_SECONDS)
        return sorted(silent)

    def _end(self) -> None:
        if not self._once.acquire(blocking=False):
            # Another thread is about to end the process.
            time.sleep(60)
        if self._status is None:
            message = f"{who(self.gone())}; {self._saved()}"
            print(f"{self._program}: error: {message}", file=sys.stderr)
            time.sleep(_LINGER_SECONDS)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # Neither JAX nor the threads of a failed collective could end in order.
        os._exit(1 if self._status is None else self._status)

    def _handle_aborts(self) -> None:
        """Replaces an abort, by which JAX ends a process that has lost another one."""

        def end(number: int) -> None:
            self._end()

        handler_type = ctypes.CFUNCTYPE(None, ctypes.c_int)
        # Python's own handlers run in the main thread, which the abort does not wait for.
        self._handler = handler_type(end)
        set_handler = ctypes.CDLL(None).signal
        set_handler.argtypes, set_handler.restype = [ctypes.c_int, handler_type], ctypes.c_void_p
        set_handler(signal.SIGABRT, self._handler)

    def _saved(self) -> str:
        if self._workdir is None:
            return "training had not started"
        try:
            step = checkpoint_files.newest_step(self._workdir, "latest")
        except (CheckpointError, OSError) as error:
            return str(error)
        if step is not None:
            return f"step {step} is saved in {self._workdir}; training can resume from it"
        return f"no step is saved in {self._workdir} on this host"


def who(numbers: list[int]) -> str:
    """A sentence about processes that do not answer."""
    if not numbers:
        return "the connection to another process is lost"
    listed = ", ".join(map(str, numbers))
    return f"process {listed} is gone" if len(numbers) == 1 else f"processes {listed} are gone"
