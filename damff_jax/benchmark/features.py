"""Suite `features`: the log-Mel spectrogram at the paper's settings, against librosa.

Case `log_mel` computes one signal on one core. Case `log_mel/workers<N>` computes songs from wav
files to features, two per worker, in the pool that prepares data sets, with a worker per core;
`speedup` is relative to a pool of one worker in the same rounds. The peer does the same with
`librosa.feature.melspectrogram` and the same 10 log10. The results must agree.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from damff_jax import audio
from damff_jax.audio.encoding import encode
from damff_jax.benchmark import made_up
from damff_jax.benchmark.results import OURS, case
from damff_jax.benchmark.settings import BenchmarkError, Settings
from damff_jax.benchmark.timing import Plan, Work, in_turns, median_and_spread
from damff_jax.features import POWER_FLOOR, FeatureConfig, log_mel
from damff_jax.system.machine import n_cores

SUITE = "features"
LIMIT_DB = 1e-4


def cases(settings: Settings, *, seconds: float = 45.0) -> Iterator[dict[str, Any]]:
    """The cases, on synthetic sound of `seconds`.

    Raises:
      BenchmarkError: ours and librosa's differ by more than `LIMIT_DB`.
    """
    # Its import loads neither TensorFlow nor JAX.
    from input_pipeline.extraction import pool

    plan = settings.plan()
    with pool(1) as executor:
        measured, difference_db = executor.submit(_on_one_core, seconds, plan).result()
    yield _case("log_mel", measured, seconds, 1, difference_db)

    workers = n_cores()
    with (
        pool(1) as single,
        pool(workers) as executor,
        tempfile.TemporaryDirectory() as folder,
    ):
        paths = [str(Path(folder) / f"{seed}.wav") for seed in range(2 * workers)]
        rate = FeatureConfig().sample_rate
        for seed, path in enumerate(paths):
            encode(path, made_up.sound(seconds, rate, seed=seed), rate, "wav", "pcm_f32le")
        works = {
            name: Work(partial(_of_files, executor, paths, compute))
            for name, compute in COMPUTES.items()
        }
        results = {name: work.call() for name, work in works.items()}
        difference_db = max(map(_difference_db, results[OURS], results["librosa"]))
        works["one worker"] = Work(partial(_of_files, single, paths, log_mel))
        measured = in_turns(works, plan)
    alone = measured.pop("one worker")
    yield _case(
        f"log_mel/workers{workers}",
        measured,
        seconds,
        len(paths),
        difference_db,
        speedup=median_and_spread(alone / measured[OURS])[0],
    )


def librosa_log_mel(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """`features.log_mel` computed by librosa: float32 (n_frames, n_mels) in dB."""
    import librosa

    power_MxN = librosa.feature.melspectrogram(
        y=samples,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        win_length=config.win_length,
        hop_length=config.hop_length,
        center=True,
        pad_mode="constant",
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax or None,
    )
    return 10 * np.log10(np.maximum(power_MxN, np.float32(POWER_FLOOR))).T


COMPUTES: dict[str, Callable] = {OURS: log_mel, "librosa": librosa_log_mel}


def _on_one_core(seconds: float, plan: Plan) -> tuple[dict[str, np.ndarray], float]:
    """Runs in a worker, whose numerical libraries have one thread."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    config = FeatureConfig()
    samples = made_up.sound(seconds, config.sample_rate)
    works = {name: Work(partial(compute, samples, config)) for name, compute in COMPUTES.items()}
    difference_db = _difference_db(*(work.call() for work in works.values()))
    return in_turns(works, plan), difference_db


def _of_files(executor: Executor, paths: list[str], compute: Callable) -> list[np.ndarray]:
    return list(executor.map(partial(_of_file, compute=compute), paths))


def _of_file(path: str, compute: Callable) -> np.ndarray:
    config = FeatureConfig()
    return compute(audio.load(path, config.sample_rate), config)


def _difference_db(ours: np.ndarray, peers: np.ndarray) -> float:
    return float(np.abs(ours - peers).max())


def _case(
    name: str,
    measured: dict[str, np.ndarray],
    seconds: float,
    n_songs: int,
    difference_db: float,
    *,
    speedup: float | None = None,
) -> dict[str, Any]:
    if not difference_db <= LIMIT_DB:
        raise BenchmarkError(f"features/{name}: ours and librosa's differ by {difference_db:g} dB")
    times_real_time = {
        who: n_songs * seconds / median_and_spread(x)[0] for who, x in measured.items()
    }
    notes = [f"{times_real_time[OURS]:.0f} × real time"]
    if speedup is not None:
        notes.append(f"{speedup:.2f} × one worker")
    return case(
        SUITE,
        name,
        measured,
        n_clips=n_songs,
        max_difference_db=difference_db,
        times_real_time=times_real_time,
        speedup=speedup,
        notes=notes,
    )
