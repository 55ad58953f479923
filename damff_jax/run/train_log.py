"""The training loop's progress: lines on the terminal and logged metrics."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from damff_jax.evaluation import metrics
from damff_jax.run.metric_writer import MetricWriter
from damff_jax.run.processes import Silent


def banner(title: str) -> None:
    """Prints the heading of a part of a run's output."""
    print(f"--- {title} ".ljust(80, "-"), flush=True)


class NotFiniteError(ValueError):
    """Too many consecutive steps whose loss or gradient is not finite; the message is one line."""


class TrainLog:
    """Progress lines and logged metrics, read one event late so that devices never wait.

    Args:
      writer: writes metrics.jsonl and the TensorBoard files.
      name: of the data set.
      schedule: the learning rate by step.
      batch_size: crops per step.
      first_step, num_steps: steps done before, and at the end.
      max_skipped_steps: consecutive skipped steps that are tolerated.
    """

    def __init__(
        self,
        writer: MetricWriter | Silent,
        *,
        name: str,
        schedule: Callable[[int], float],
        batch_size: int,
        first_step: int,
        num_steps: int,
        max_skipped_steps: int,
    ):
        self._writer = writer
        self._name = name
        self._schedule = schedule
        self._batch_size = batch_size
        self._first_step = first_step
        self._num_steps = num_steps
        self._max_skipped_steps = max_skipped_steps
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self._clock = Stopwatch()

    def started(self, step: int, step_metrics: Mapping[str, jax.Array]) -> None:
        """Waits for the first call, which compiles; clips per second are measured after it."""
        jax.block_until_ready(step_metrics)
        print(f"first step after {self._clock.seconds():.1f} s, including compilation", flush=True)
        self._first_step, self._clock = step, Stopwatch()

    def add(self, step: int, step_metrics: Mapping[str, jax.Array]) -> None:
        """Takes a step's metrics, and writes those of the previous event.

        Raises:
          NotFiniteError: too many consecutive steps have been skipped.
        """
        self.flush()
        self._pending = step, step_metrics

    def check(self, step: int, step_metrics: Mapping[str, jax.Array]) -> None:
        """Writes what is pending, waits for a step, and checks the number of skipped ones.

        Raises:
          NotFiniteError: too many consecutive steps have been skipped.
        """
        self.flush()
        self._refuse(step, step_metrics)

    def _refuse(self, step: int, step_metrics: Mapping[str, jax.Array]) -> None:
        in_a_row = int(step_metrics["skipped_in_a_row"])
        if in_a_row > self._max_skipped_steps:
            raise NotFiniteError(f"step {step}: {in_a_row} consecutive steps were skipped")

    def flush(self) -> None:
        """Writes what is pending; of a skipped step, only finite values.

        Raises:
          NotFiniteError: too many consecutive steps have been skipped.
        """
        if self._pending is None:
            return
        step, step_metrics = self._pending
        self._pending = None
        self._refuse(step, step_metrics)
        values = {f"train/{name}": float(x) for name, x in step_metrics.items()}
        del values["train/skipped_in_a_row"]
        n_skipped = int(values["train/skipped"])
        # The optimiser counts only its updates.
        values["train/learning_rate"] = float(self._schedule(max(step - 1 - n_skipped, 0)))
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._writer.write(step, finite)
        line = (
            f"step {step:6d}/{self._num_steps}  loss {values['train/loss']:.4f}  "
            f"CCC valence {values['train/valence/ccc']:.3f} "
            f"arousal {values['train/arousal/ccc']:.3f}"
        )
        if n_skipped:
            line += f"  {n_skipped} steps skipped"
        if n_clips := (step - self._first_step) * self._batch_size:
            clips_per_second = n_clips / self._clock.seconds()
            self._writer.write_timing(step, {"time/clips_per_second": clips_per_second})
            remaining = (self._num_steps - step) * self._batch_size / clips_per_second
            line += f"  {clips_per_second:.1f} clips/s  ETA {format_seconds(remaining)}"
        print(line, flush=True)

    def pause(self) -> contextlib.AbstractContextManager:
        """Stops the clock by which clips per second are measured."""
        self.flush()
        return self._clock.pause()

    def validation(self, step: int, summary: Mapping[str, Any], loss: float) -> None:
        """Writes a validation's scores and loss."""
        values = {"validation/loss": loss, **metrics.flatten(summary, "validation/")}
        self._writer.write(step, values)
        title = f"step {step}, {self._name}, validation songs"
        print(metrics.format_summary(title, summary), flush=True)


class Stopwatch:
    """Seconds since its creation, without its pauses."""

    def __init__(self):
        self._started = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._started

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        paused = time.monotonic()
        yield
        self._started += time.monotonic() - paused


def format_seconds(seconds: float) -> str:
    """Hours, minutes and seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
