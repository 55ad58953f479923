"""Damaged checkpoints: prediction loads the best state, and training the latest.

refused  a CheckpointError or FeatureMismatchError of one line
handled  the variables and metadata that were saved; or others of the run, with a warning
silent   other variables or metadata without a warning
"""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from damff_jax.features import FeatureConfig, FeatureMismatchError
from damff_jax.models import create_model
from damff_jax.run.checkpoint import CheckpointError, Checkpoints, load_variables
from damff_jax.training import parallel, train_state
from damff_jax.training.optim import OptimConfig, learning_rate_schedule, make_optimizer
from damff_jax.training.train_state import TrainState
from tests.faults.mutations import mutate

_ROOT = Path(__file__).parents[2]
# A run that takes seconds: a model with a few thousand parameters on six songs.
TINY_RUN = (
    *("--config=configs/synthetic.py", "--config.batch_size=4", "--config.data.eval_batch_size=1"),
    *("--config.num_train_steps=12", "--config.log_every_steps=1", "--config.eval_every_steps=3"),
    *("--config.checkpoint_every_steps=3", "--config.features.sample_rate=8000"),
    *("--config.features.n_fft=512", "--config.features.win_length=480"),
    *("--config.features.hop_length=400", "--config.features.n_mels=16"),
    *("--config.model.channels=(2,2,4)", "--config.model.hidden_size=4"),
    *("--config.data.crop_segments=8", "--config.data.overlap=2", "--config.data.workers=1"),
    *("--config.data.options.n_clips=4", "--config.data.options.n_test=2"),
    *("--config.data.options.duration_s=6.0", "--config.data.options.sample_rate=16000"),
)


def train(data_dir: Path, workdir: Path) -> subprocess.Popen:
    """Starts or resumes the tiny run."""
    command = [sys.executable, "train.py", *TINY_RUN]
    command += [f"--config.data.data_dir={data_dir}", f"--workdir={workdir}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=_ROOT, **pipes)


def make_inputs(folder: Path, seed: int) -> None:
    """A finished run."""
    del seed
    process = train(folder / "data", folder / "run")
    _, err = process.communicate()
    if process.returncode:
        raise RuntimeError(err[-2000:])


class Trials:
    def __init__(self, folder: Path, seed: int):
        self._seed = seed
        self._workdir = folder.parent / f"checkpoints_{id(self)}"
        self._source = folder / "run" / "checkpoints"
        shutil.copytree(self._source, self._workdir / "checkpoints")
        _, self._meta = load_variables(self._workdir)
        self._like = parallel.replicate(_state_of(self._meta))
        self._whole = {name: load() for name, load in self._ways().items()}
        self._paths = sorted(
            path.relative_to(self._source) for path in self._source.rglob("*") if path.is_file()
        )

    def _ways(self) -> dict[str, Callable[[], tuple]]:
        """Ways to load; the last one moves damaged files away."""
        return {"prediction": self._predict, "training": self._resume}

    def _predict(self) -> tuple:
        return _content(load_variables(self._workdir))

    def _resume(self) -> tuple:
        with Checkpoints(self._workdir) as checkpoints:
            return _content(checkpoints.restore_latest(self._like, self._meta))

    def run(self, number: int) -> tuple[str, str]:
        rng = np.random.default_rng([self._seed, 4, number])
        name = self._paths[rng.integers(len(self._paths))]
        path = self._workdir / "checkpoints" / name
        if rng.random() < 0.15:
            self.what = f"{name} deleted"
            path.unlink()
        elif rng.random() < 0.1:
            self.what = f"{name.parent} emptied"
            shutil.rmtree(path.parent)
            path.parent.mkdir()
        else:
            content = path.read_bytes()
            mutated = mutate(content, rng) if content else None
            path.write_bytes(mutated.content if mutated else b"more")
            self.what = f"{name}: {mutated.what if mutated else 'filled'} of {len(content)} bytes"
        outcome = "handled", self.what
        try:
            for way, load in self._ways().items():
                try:
                    with warnings.catch_warnings(record=True) as caught:
                        warnings.simplefilter("always")
                        loaded = load()
                except (CheckpointError, FeatureMismatchError) as error:
                    if "\n" in str(error):
                        return "crashed", f"{way}, {self.what}: {error}"
                    outcome = "refused", f"{way}, {self.what}: {error}"
                    continue
                if loaded != self._whole[way] and not caught:
                    return "silent", f"{way}, {self.what}: another state or other metadata"
        finally:
            shutil.rmtree(self._workdir / "checkpoints")
            shutil.copytree(self._source, self._workdir / "checkpoints")
        return outcome


def _state_of(meta: Mapping[str, Any]) -> TrainState:
    """A new state with the same shapes."""
    config, features = meta["config"], FeatureConfig.from_json(meta["features"])
    optim = OptimConfig(**config["optim"])
    zeros = np.zeros(features.n_mels)
    return train_state.create(
        create_model(config["model"], dtype=config["dtype"], axis_name=None),
        make_optimizer(optim, learning_rate_schedule(optim, config["num_train_steps"])),
        seed=0,
        segment_shape=(features.frames_per_segment, features.n_mels),
        input_stats={"mean": zeros, "std": zeros},
        with_ema=optim.ema_decay > 0,
    )


def _content(loaded: Any) -> tuple:
    """Everything that was loaded, for comparison."""
    leaves, tree = jax.tree.flatten(loaded)
    return str(tree), [(str(np.asarray(x).dtype), np.asarray(x).tobytes()) for x in leaves]
