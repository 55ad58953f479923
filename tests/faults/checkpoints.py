"""Damaged checkpoints, loaded as `predict` and `evaluate` load them.

refused  a CheckpointError or FeatureMismatchError of one line
handled  the variables and meta data that were saved; or others of the run, with a warning
silent   other variables or meta data without a word
"""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np

from damff_jax.checkpoint import CheckpointError, load_variables
from damff_jax.features import FeatureMismatchError
from tests.faults.mutations import mutate

_ROOT = Path(__file__).parents[2]
# A run of seconds: a model of some thousand parameters on six songs.
TINY_RUN = (
    *("--config=configs/synthetic.py", "--config.batch_size=4", "--config.data.eval_batch_size=4"),
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
    """Starts or goes on with the tiny run."""
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
        self._whole = self._load()
        self._paths = sorted(
            path.relative_to(self._source) for path in self._source.rglob("*") if path.is_file()
        )

    def _load(self) -> tuple:
        variables, meta = load_variables(self._workdir)
        leaves, tree = jax.tree.flatten(variables)
        arrays = [np.asarray(x) for x in leaves]
        return str(tree), [(x.dtype, x.shape, x.tobytes()) for x in arrays], meta

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
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                loaded = self._load()
        except (CheckpointError, FeatureMismatchError) as error:
            return "crashed" if "\n" in str(error) else "refused", f"{self.what}: {error}"
        finally:
            shutil.rmtree(self._workdir / "checkpoints")
            shutil.copytree(self._source, self._workdir / "checkpoints")
        if loaded == self._whole or caught:
            return "handled", self.what
        return "silent", f"{self.what}: other variables or meta data"
