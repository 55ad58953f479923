"""Suite `input`: whether the pipeline keeps up with the training step. Loads TensorFlow.

Case `crops` makes batches of random crops of songs in memory; `train` is a short training loop on
them, like that of `train.py` but without logging. Case `shards` reads songs from TFDS shards (in
the page cache) into memory, which training does once. Cases `memory/N` and `stream/N` are trainings
on N songs in memory or in the shards, see `reading`.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from damff_jax.benchmark import made_up, reading, recipe
from damff_jax.benchmark.recipe import PAPER, Sizes
from damff_jax.benchmark.results import OURS, case
from damff_jax.benchmark.roofline import analyse, jax_work
from damff_jax.benchmark.settings import Settings, Variant
from damff_jax.benchmark.timing import Work, in_turns, median_and_spread
from damff_jax.features import FeatureConfig
from damff_jax.system.machine import n_cores
from damff_jax.training import parallel
from damff_jax.training.crops import Crops

SUITE = "input"
PAPER_FEATURES = FeatureConfig()


def cases(
    settings: Settings,
    sizes: Sizes = PAPER,
    *,
    n_songs: int = 64,
    song_segments: int = 90,
    features: FeatureConfig = PAPER_FEATURES,
    n_records: int = 8,
    of_reading: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Cases `crops` and `train` of every variant, `shards`, and `memory/N` and `stream/N`.

    Args:
      n_songs, song_segments: the songs in memory; by default of 45 s.
      features: of the shards, which hold `n_records` songs of 45 s.
      of_reading: fields of `reading.Measurement` that differ from their defaults.
    """
    # TensorFlow takes seconds to load and must not claim accelerators.
    from input_pipeline.base import hide_accelerators_from_tensorflow

    hide_accelerators_from_tensorflow()
    songs = made_up.songs(n_songs, song_segments, sizes.frames, sizes.n_mels)
    for batch_size in settings.batch_sizes:
        yield _crops(songs, Variant(batch_size), settings, sizes)
    for variant in settings.variants():
        yield _train(songs, variant, settings, sizes)
    yield _shards(settings, features, n_records)
    sizes_of_reading = {"n_steps": settings.steps, **(of_reading or {})}
    yield from reading.cases(SUITE, settings.songs, **sizes_of_reading)


def _crops(songs: Any, variant: Variant, settings: Settings, sizes: Sizes) -> dict[str, Any]:
    batches = _batches(songs, variant, sizes)
    seconds = in_turns({OURS: Work(lambda: next(batches))}, settings.plan())
    return case(SUITE, variant.name("crops"), seconds, n_clips=variant.batch_size)


def _train(songs: Any, variant: Variant, settings: Settings, sizes: Sizes) -> dict[str, Any]:
    """A loop's seconds per step.

    `waiting` is the share of the loop's time spent in `next(batches)`. Devices may compute in the
    meantime, so it is an upper bound of the pipeline's cost. `pipeline_to_step` is the clips per
    second of the pipeline alone divided by those of the step alone.
    """
    devices = recipe.local_devices(variant.n_devices)
    _, state, step = recipe.build(variant, sizes)
    train_step = recipe.train_step(step, devices)
    batches = parallel.prefetch(_batches(songs, variant, sizes), devices=devices)
    batch = next(batches)
    compile_s = analyse(train_step, state, batch)["compile_s"]
    loop = _TimedLoop(train_step, state, batches)

    works = {
        "pipeline": Work(lambda: next(batches)),
        "step": jax_work(lambda: loop.step(batch), devices[0]),
    }
    plan = settings.plan(rounds=3)
    alone = {name: median_and_spread(x)[0] for name, x in in_turns(works, plan).items()}

    n_steps = max(3, math.ceil(plan.seconds / alone["step"]))
    rounds = [loop.run(n_steps) for _ in range(plan.rounds)]
    wall, waited = np.array(rounds).T
    waiting, pipeline_to_step = np.median(waited / wall), alone["step"] / alone["pipeline"]
    return case(
        SUITE,
        variant.name("train"),
        {OURS: wall / n_steps},
        compile_s=compile_s,
        n_clips=variant.batch_size,
        n_devices=variant.n_devices,
        steps_per_round=n_steps,
        waiting=float(waiting),
        pipeline_to_step=float(pipeline_to_step),
        notes=[f"waits {waiting:.1%}, pipeline {pipeline_to_step:.3g} × the step's rate"],
    )


class _TimedLoop:
    """A training loop that can be continued, and measures how long it waits for batches."""

    def __init__(self, train_step: Callable, state: Any, batches: Iterator[Any]):
        self._train_step, self._state, self._batches = train_step, state, batches

    def step(self, batch: Any) -> Any:
        self._state, metrics = self._train_step(self._state, batch)
        return metrics

    def run(self, n_steps: int) -> tuple[float, float]:
        """Seconds that the steps take, and how many of those are spent in `next(batches)`."""
        waited, started = 0.0, time.perf_counter()
        for _ in range(n_steps):
            before = time.perf_counter()
            batch = next(self._batches)
            waited += time.perf_counter() - before
            metrics = self.step(batch)
        jax.block_until_ready(metrics)
        return time.perf_counter() - started, waited


def _shards(settings: Settings, features: FeatureConfig, n_records: int) -> dict[str, Any]:
    from input_pipeline import datasets
    from input_pipeline.settings import make_settings

    values = {"n_clips": n_records, "n_test": 0, "validation_fraction": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        options, split = make_settings("synthetic", values)
        builder = datasets.open_builder(
            "synthetic", data_dir=folder, features=features, options=options
        )
        datasets.prepare(builder, workers=n_cores())
        dataset = datasets.Dataset.of(builder, split)
        work = Work(lambda: dataset.load("train"))
        seconds = in_turns({OURS: work}, settings.plan())
    return case(SUITE, "shards", seconds, n_clips=n_records)


def _batches(songs: Any, variant: Variant, sizes: Sizes) -> Iterator[dict[str, np.ndarray]]:
    from input_pipeline.pipeline import train_batches

    crops = Crops(
        songs,
        batch_size=variant.batch_size,
        crop_segments=sizes.segments,
        seed=0,
        n_devices=variant.n_devices,
    )
    return train_batches(crops)
