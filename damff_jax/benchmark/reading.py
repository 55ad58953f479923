"""Reading songs from shards while a model trains: memory, start and speed by number of songs.

    python -m damff_jax.benchmark.reading '{"data_dir": ..., "n_songs": ..., ...}'

is one measurement in a process of its own, because memory that was once in use counts for ever; it
prints its results as JSON. `cases` starts them.
"""

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from damff_jax.benchmark.results import OURS, case
from damff_jax.benchmark.settings import BenchmarkError
from damff_jax.features import FeatureConfig
from damff_jax.system.subprocesses import environment

# Half of the paper's resolution in time and in frequency, so that 20,000 songs fit on any disk.
FEATURES = FeatureConfig(sample_rate=22_050, n_fft=2048, win_length=1323, n_mels=64)
# A model whose step takes less time than a batch needs to be noticed.
SMALL_MODEL = {"channels": (2, 2, 2), "branches": "a", "sequence": "none"}
# Batches that are timed together.
_BATCHES_PER_ROUND = 20


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A training on random songs of 45 s.

    Attributes:
      data_dir: of the shards, which are built if necessary.
      reading: see `Dataset`.
      n_batches: how many are made as fast as possible, to see how many that is per second.
      n_steps: how many are trained on before.
      started: when the process was started, in seconds since 1970.
    """

    data_dir: str
    n_songs: int
    reading: str = "stream"
    features: FeatureConfig = FEATURES
    song_segments: int = 90
    crop_segments: int = 60
    batch_size: int = 16
    n_batches: int = 1000
    n_steps: int = 50
    started: float = 0.0


def cases(
    suite: str,
    numbers: Sequence[int],
    *,
    readings: Sequence[str] = ("memory", "stream"),
    **sizes: Any,
) -> Iterator[dict[str, Any]]:
    """Cases `memory/N` and `stream/N` for numbers of songs; what is measured is in `Measurement`.

    The first start after a build compares the shards with their digests, and computes statistics of
    the training songs; it is measured too (`first_start_s`).
    """
    for n_songs in numbers:
        with tempfile.TemporaryDirectory() as folder:
            build = Measurement(folder, n_songs, **sizes)
            _dataset(build)
            time.sleep(3)  # Until then, shards could change without a later time of change.
            first = _measure(dataclasses.replace(build, n_batches=0, n_steps=0))
            for reading in readings:
                measured = _measure(dataclasses.replace(build, reading=reading))
                measured["first_start_s"] = first["first_batch_s"]
                yield _case(suite, f"{reading}/{n_songs}", measured, build.batch_size)


def _case(suite: str, name: str, measured: dict[str, Any], batch_size: int) -> dict[str, Any]:
    seconds = np.array(measured.pop("seconds"))
    notes = [
        f"peak {measured['peak_bytes'] / 1e6:.0f} MB",
        f"first batch after {measured['first_batch_s']:.1f} s, "
        f"{measured['first_start_s']:.1f} s after a build",
        f"{1 / seconds.mean():.0f} batches/s",
        f"slowest step {measured['slowest_step']:.1f} × median",
    ]
    return case(suite, name, {OURS: seconds}, n_clips=batch_size, notes=notes, **measured)


def _measure(what: Measurement) -> dict[str, Any]:
    argument = json.dumps(dataclasses.asdict(dataclasses.replace(what, started=time.time())))
    command = [sys.executable, "-m", __name__, argument]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"training on {what.n_songs} songs failed: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def _dataset(what: Measurement) -> Any:
    # TensorFlow takes seconds to load.
    from input_pipeline.random_songs import RandomOptions, open_random

    options = RandomOptions(what.n_songs, what.song_segments)
    return open_random(what.data_dir, options, what.features, what.reading)


def measure(what: Measurement) -> dict[str, Any]:
    """Trains in this process; returns the numbers of a case.

    `slowest_step` is the slowest step of the training, with its wait for the batch, divided by the
    median. The first two are left out: one compiles, the other waits for it.
    """
    import jax

    from damff_jax.benchmark import recipe
    from damff_jax.benchmark.settings import Variant
    from damff_jax.training import parallel
    from damff_jax.training.crops import Crops
    from input_pipeline.pipeline import train_batches

    songs = _dataset(what).load("train")
    songs.mel_statistics()
    crops = Crops(songs, what.batch_size, what.crop_segments, seed=0)
    devices = recipe.local_devices(1)
    batches = parallel.prefetch(train_batches(crops), devices=devices)
    next(batches)
    result: dict[str, Any] = {"first_batch_s": time.time() - what.started}

    frames, n_mels = songs.segment_shape
    sizes = recipe.Sizes(what.crop_segments, frames, n_mels, SMALL_MODEL)
    _, state, step = recipe.build(Variant(what.batch_size), sizes)
    train_step, steps = recipe.train_step(step, devices), []
    for _ in range(what.n_steps):
        before = time.perf_counter()
        state, metrics = train_step(state, next(batches))
        jax.block_until_ready(metrics)
        steps.append(time.perf_counter() - before)
    result["n_steps"] = what.n_steps
    result["slowest_step"] = max(steps[2:]) / float(np.median(steps[2:])) if steps[2:] else 0.0

    host_batches = train_batches(crops)
    result["seconds"] = []
    for _ in range(what.n_batches // _BATCHES_PER_ROUND):
        before = time.perf_counter()
        for _ in range(_BATCHES_PER_ROUND):
            next(host_batches)
        result["seconds"].append((time.perf_counter() - before) / _BATCHES_PER_ROUND)
    return {**result, "peak_bytes": peak_memory()}


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    try:
        # Of this program alone; the other source counts the process that started it.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def main() -> int:
    values = json.loads(sys.argv[1])
    values["features"] = FeatureConfig(**values["features"])
    print(json.dumps(measure(Measurement(**values))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
