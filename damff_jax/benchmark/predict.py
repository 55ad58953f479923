"""Suite `predict`: what a user waits for, `python -m damff_jax.predict FILE` from start to exit.

The file is a synthetic mp3 of four minutes, and the checkpoint holds random weights. Case `file`
starts with an empty compilation cache, `file/warm_cache` with one that an earlier run has filled.
The operating system's caches are warm in both.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from damff_jax.audio.encoding import encode
from damff_jax.benchmark import made_up, recipe
from damff_jax.benchmark.recipe import PAPER, Sizes
from damff_jax.benchmark.results import OURS, case
from damff_jax.benchmark.settings import BenchmarkError, Settings
from damff_jax.benchmark.timing import Work, in_turns, median_and_spread
from damff_jax.features import FeatureConfig
from damff_jax.models import create_model
from damff_jax.run.checkpoint import Checkpoints
from damff_jax.system.subprocesses import environment

SUITE = "predict"
PAPER_FEATURES = FeatureConfig()


def cases(
    settings: Settings,
    sizes: Sizes = PAPER,
    *,
    features: FeatureConfig = PAPER_FEATURES,
    seconds: float = 240.0,
) -> Iterator[dict[str, Any]]:
    """Cases `file` and `file/warm_cache`, on a song of `seconds`.

    Raises:
      BenchmarkError: predict failed; with the last line of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        song, workdir, filled = (Path(folder) / name for name in ("song.mp3", "run", "cache"))
        samples = made_up.sound(seconds, features.sample_rate)
        encode(song, samples, features.sample_rate, "mp3", "libmp3lame")
        write_checkpoint(workdir, sizes, features)

        def cold() -> None:
            with tempfile.TemporaryDirectory() as empty:
                _predict(song, workdir, Path(empty))

        works = {
            "file": Work(cold),
            "file/warm_cache": Work(lambda: _predict(song, workdir, filled)),
        }
        measured = in_turns(works, settings.plan(rounds=3, warmup=1))
    for name, rounds in measured.items():
        times_real_time = seconds / median_and_spread(rounds)[0]
        yield case(
            SUITE,
            name,
            {OURS: rounds},
            n_clips=1,
            times_real_time=times_real_time,
            notes=[f"{times_real_time:.0f} × real time"],
        )


def write_checkpoint(workdir: Path, sizes: Sizes, features: FeatureConfig) -> None:
    """Writes a checkpoint with random weights for `damff_jax.predict`."""
    model = create_model(sizes.model_config(), dtype="float32", axis_name=None)
    data = {"dataset": "nothing", "crop_segments": sizes.segments, "overlap": sizes.segments // 4}
    meta = {
        "config": {"model": sizes.model_config(), "dtype": "float32", "data": data},
        "features": features.to_json(),
        "identity": {"dataset": "nothing"},
    }
    state = recipe.first_state(model, sizes, recipe.local_devices(1))
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save_if_best(state, meta, 0.0)


def _predict(song: Path, workdir: Path, cache: Path) -> None:
    process = subprocess.run(
        [
            *(sys.executable, "-m", "damff_jax.predict", str(song)),
            *(f"--checkpoint={workdir}", f"--output_dir={song.parent}"),
        ],
        env={
            **environment(),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_ENABLE_COMPILATION_CACHE": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"predict ended with status {process.returncode}: {last}")
