"""Logged numbers: a line of JSON per event, and TensorBoard."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from damff_jax.files import write_aside


class MetricWriter:
    """Appends to `metrics.jsonl` and to TensorBoard's event files in a directory.

    A run that goes on from a step first drops what was logged after it, so that the file has
    neither gaps nor repeats; TensorBoard is told to do the same. Nothing that depends on the clock
    is in `metrics.jsonl`: two runs of one configuration write the same bytes.
    """

    def __init__(self, workdir: str | os.PathLike, *, first_step: int):
        path = Path(workdir) / "metrics.jsonl"
        kept = [event for event in read_metrics(workdir) if event["step"] <= first_step]
        with write_aside(path) as file:
            file.writelines(json.dumps(event) + "\n" for event in kept)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self._events = EventFileWriter(os.fspath(workdir))
        if first_step:
            started = SessionLog(status=SessionLog.START)
            event = Event(wall_time=time.time(), step=first_step + 1, session_log=started)
            self._events.add_event(event)
        self.sync()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()
        self._events.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values under flat names such as `train/loss`."""
        values = {name: float(value) for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        self.write_timing(step, values)

    def sync(self) -> None:
        """Puts what is logged on the disk."""
        os.fsync(self._file.fileno())
        self._events.flush()

    def write_timing(self, step: int, values: Mapping[str, float]) -> None:
        """Logs to TensorBoard alone."""
        summary = Summary(
            value=[Summary.Value(tag=name, simple_value=x) for name, x in values.items()]
        )
        self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The events of `metrics.jsonl`, empty if there is none; a half-written last line is left out.

    Raises:
      ValueError: another line is no JSON object.
    """
    path = Path(workdir) / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    events = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: not a line of JSON") from error
    return events
