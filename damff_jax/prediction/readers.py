"""Songs as streams of log-Mel segments, read from files one by one or by several processes.

Readers are separate programs, `python -m damff_jax.prediction.readers`, instead of processes of
`multiprocessing`, which would run a user's script again. Threads would have to share one standard
error, where a decoder reports damage. A reader takes paths from its standard input, one line of
JSON each, and writes messages to its standard output, a pipe of bounded size: when it is full, a
reader that is faster than the model waits.
"""

import collections
import contextlib
import fcntl
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from damff_jax import audio
from damff_jax.features import SEGMENT_SECONDS, FeatureConfig, log_mel_blocks, segments
from damff_jax.system import preemption
from damff_jax.system.command_line import show_warnings_by
from damff_jax.system.machine import n_cores
from damff_jax.system.subprocesses import SINGLE_THREADED, environment

# Below this level (dB, the loudest Mel bin of the loudest frame) there is practically no music.
LOW_ENERGY_DB = -50.0
# More would cost memory (60 MB each) without saving time.
_MOST_READERS = 8
# Songs that a reader is given in advance. Of long songs, the pipe holds only a part.
_AHEAD = 4
# Several clips of 45 s; the largest pipe that Linux allows every user.
_PIPE_BYTES = 2**20


def read(
    path: str | os.PathLike, config: FeatureConfig, *, strict: bool = False
) -> Iterator[np.ndarray]:
    """The log-Mel segments of an audio file in dB, in blocks (any number, F, M) of float32.

    Memory does not grow with the file's length.

    Args:
      path: the file.
      config: the features.
      strict: a file that is not decoded to its declared end is an error instead of a warning.

    Raises:
      AudioError: the file cannot be read, or is shorter than one segment.
    """
    samples = audio.stream(path, config.sample_rate, strict=strict)
    return segmented(samples, config, name=os.fsdecode(path))


def segmented(
    samples: Iterable[np.ndarray], config: FeatureConfig, *, name: str
) -> Iterator[np.ndarray]:
    """The log-Mel segments of a stream of mono samples at the features' rate, as `read` gives them.

    Args:
      name: of the song, for messages.

    Raises:
      AudioError: the song is shorter than one segment.
    """
    rest = np.zeros((0, config.n_mels), np.float32)
    n_segments, loudest = 0, -np.inf
    for frames in log_mel_blocks(samples, config):
        loudest = max(loudest, float(frames.max()))
        rest = np.concatenate([rest, frames])
        block = segments(rest, config)
        rest = rest[len(block) * config.frames_per_segment :]
        n_segments += len(block)
        yield block
    if not n_segments:
        raise audio.AudioError(f"{name}: shorter than one segment of {SEGMENT_SECONDS} s")
    if loudest < LOW_ENERGY_DB:
        message = f"{name}: low energy, at most {loudest:.0f} dB; the curve is not reliable"
        warnings.warn(message, audio.AudioWarning, stacklevel=2)


def read_all(
    paths: Iterable[str | os.PathLike],
    config: FeatureConfig,
    *,
    strict: bool = False,
    n_readers: int | None = None,
) -> Iterator[Iterator[np.ndarray]]:
    """Reads files in their order, each as by `read`, while readers prepare the next ones.

    A file's stream must be read to its end, or error, before the next one is requested. The first
    file is read by this process, so that a single file need not wait for a reader to start.

    Args:
      paths: the files; a few are taken in advance.
      config: the features.
      strict: as for `read`.
      n_readers: processes; by default one per core but at most eight, and none on a single core.
    """
    if n_readers is None:
        n = n_cores()
        n_readers = min(n, _MOST_READERS) if n > 1 else 0
    with contextlib.ExitStack() as stack:
        readers: list[_Reader] = []
        songs: collections.deque[Iterator[np.ndarray]] = collections.deque()
        for n, path in enumerate(paths):
            if 0 < n <= n_readers:
                try:
                    readers.append(stack.enter_context(_Reader(config, strict)))
                except OSError:  # No process can be started; this one can do all the work.
                    n_readers = 0
            if n == 0 or not n_readers:
                songs.append(read(path, config, strict=strict))
            else:
                songs.append(readers[(n - 1) % n_readers].give(path))
            if len(songs) > n_readers * _AHEAD:
                yield songs.popleft()
        yield from songs


class _Reader:
    """A process that reads songs in the order in which they are given; a context manager."""

    def __init__(self, config: FeatureConfig, strict: bool):
        self._settings = json.dumps({"features": config.to_json(), "strict": strict})
        self._given: collections.deque[str] = collections.deque()
        self._start()

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def give(self, path: str | os.PathLike) -> Iterator[np.ndarray]:
        """Gives the process a file; returns its stream, to be read after those of earlier files."""
        self._given.append(os.fsdecode(path))
        self._send(self._given[-1])
        return self._taken(self._given[-1])

    def _start(self) -> None:
        # Not in the process group that receives Ctrl-C: this process ends it.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "damff_jax.prediction.readers", self._settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The readers themselves use all cores.
            env=environment() | SINGLE_THREADED,
            process_group=0,
        )
        paths, messages = self._process.stdin, self._process.stdout
        assert paths is not None and messages is not None  # Both are pipes.
        self._paths, self._messages = paths, messages
        # If the pipe cannot be enlarged, readers are just less far ahead.
        with contextlib.suppress(AttributeError, OSError):
            fcntl.fcntl(self._messages, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def _end(self) -> None:
        # What was not yet sent to a process that has died is dropped.
        with contextlib.suppress(BrokenPipeError), self._process:
            self._process.kill()

    def _send(self, path: str) -> None:
        # That the process has died is reported when it is the song's turn.
        with contextlib.suppress(BrokenPipeError):
            self._paths.write(json.dumps(path).encode() + b"\n")
            self._paths.flush()

    def _taken(self, path: str) -> Iterator[np.ndarray]:
        while True:
            match self._receive():
                case ["block", array]:
                    yield array
                case ["warning", text]:
                    warnings.warn(text, audio.AudioWarning, stacklevel=2)
                case end:
                    self._given.popleft()
                    break
        match end:
            case ["error", text]:
                raise audio.AudioError(text)
            case None:
                raise audio.AudioError(f"{path}: {self._replaced()}")

    def _receive(self) -> list[Any] | None:
        """The next message; None if the process died before completing it."""
        line = self._messages.readline()
        if not line.endswith(b"\n"):
            return None
        message = json.loads(line)
        if message[0] == "block":
            n_bytes = 4 * math.prod(message[1])
            data = self._messages.read(n_bytes)
            if len(data) < n_bytes:
                return None
            message[1] = np.frombuffer(data, np.float32).reshape(message[1])
        return message

    def _replaced(self) -> str:
        """Starts another process for the remaining songs; returns how this one ended."""
        status = self._process.wait()
        self._end()
        self._start()
        for path in self._given:
            self._send(path)
        reason = f"status {status}" if status >= 0 else signal.strsignal(-status)
        return f"the process that read it has died ({reason})"


def _serve(config: FeatureConfig, strict: bool) -> None:
    """Reads files until standard input ends: paths come in there, and messages go out."""
    for number in preemption.SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # The parent process ends this one.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    warnings.simplefilter("always", audio.AudioWarning)
    show_warnings_by(lambda message: _put("warning", message), audio.AudioWarning)
    paths: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_take_paths, args=(paths,), daemon=True).start()
    while True:
        try:
            for block in read(paths.get(), config, strict=strict):
                _put("block", block.shape, data=block.tobytes())
            _put("end")
        except audio.AudioError as error:
            _put("error", str(error))


def _take_paths(paths: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin.buffer:
        paths.put(json.loads(line))
    # The parent process has ended.
    os._exit(0)


def _put(*message: Any, data: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n" + data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    _serve(FeatureConfig.from_json(settings["features"]), settings["strict"])
