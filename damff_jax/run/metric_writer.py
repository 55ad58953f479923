"""Logged metrics: a line of JSON per event, and TensorBoard."""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from damff_jax.system.files import atomic_write, naming
from damff_jax.system.places import plain_path


class MetricWriter:
    """Appends to `metrics.jsonl` and to TensorBoard's event files in a directory.

    A run that resumes from a step first drops what was logged after it, so that the file has
    neither gaps nor repeats; TensorBoard is told to do the same. `metrics.jsonl` has nothing that
    depends on the clock: two runs of one configuration write the same bytes.
    """

    def __init__(self, workdir: str | os.PathLike, *, first_step: int):
        self._path = Path(workdir) / "metrics.jsonl"
        kept = [event for event in read_metrics(workdir) if event["step"] <= first_step]
        with atomic_write(self._path) as file:
            file.writelines(json.dumps(event) + "\n" for event in kept)
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(open(self._path, "a", encoding="utf-8"))
            # TensorBoard takes no name that is not UTF-8.
            plain = stack.enter_context(plain_path(Path(workdir)))
            self._events = EventFileWriter(os.fspath(plain))
            self._open = stack.pop_all()
        if first_step:
            started = SessionLog(status=SessionLog.START)
            event = Event(wall_time=time.time(), step=first_step + 1, session_log=started)
            self._events.add_event(event)
        self.sync()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        with self._open, naming(self._path):
            self._events.close()
            self._file.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values under flat names such as `train/loss`.

        Raises:
          OSError: the file cannot be written; the error names it.
        """
        values = {name: float(value) for name, value in values.items()}
        with naming(self._path):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        self.write_timing(step, values)

    def sync(self) -> None:
        """Flushes what is logged to the disk."""
        with naming(self._path):
            os.fsync(self._file.fileno())
        self._events.flush()

    def write_timing(self, step: int, values: Mapping[str, float]) -> None:
        """Logs to TensorBoard only."""
        summary = Summary(
            value=[Summary.Value(tag=name, simple_value=x) for name, x in values.items()]
        )
        self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The events of `metrics.jsonl`, empty if it is missing; an incomplete last line is left out.

    Raises:
      ValueError: another line is not a JSON object with a step.
    """
    path = Path(workdir) / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    events = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            event = json.loads(line)
            if not isinstance(event, dict) or not isinstance(event.get("step"), int):
                raise ValueError("not an event with a step")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not a line of a log ({error})") from error
        events.append(event)
    return events
