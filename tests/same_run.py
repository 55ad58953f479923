"""Whether two checkouts train to the same bytes: `python tests/same_run.py OLD NEW`.

Makes small runs on the synthetic data set, with crops cut on the host and on the device, and with a
model solved in closed form. Compares predictions, metrics, scores and checkpoints. Exit status: 0
the same, 1 different.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

RUNS = {
    "host": ("configs/synthetic.py", ()),
    "device": ("configs/synthetic.py", ("--config.data.on_device=True",)),
    "solved": ("configs/synthetic.py:ridge", ()),
}
SMALL = {
    "num_train_steps": 8,
    "eval_every_steps": 4,
    "checkpoint_every_steps": 4,
    "log_every_steps": 2,
    "data.options.n_clips": 12,
    "data.options.n_test": 4,
    "data.options.duration_s": 20.0,
}
FILES = ("predictions_validation.csv", "predictions_test.csv", "metrics.jsonl", "evaluation.json")


def train(checkout: Path, folder: Path) -> None:
    """Trains all runs with the code of a checkout, each in its own folder."""
    for name, (config, arguments) in RUNS.items():
        command = [sys.executable, "train.py", f"--config={config}", f"--workdir={folder / name}"]
        command += [f"--config.data.data_dir={folder / 'data'}", *arguments]
        command += [f"--config.{key}={value}" for key, value in SMALL.items()]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        subprocess.run(
            command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL
        )


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of a run's files and of every array in its checkpoints, by name."""
    found = {name: (folder / name).read_bytes() for name in FILES}
    for state in sorted(folder.glob("checkpoints/*/*/state")):
        tree = ocp.StandardCheckpointer().restore(state.resolve())
        for path, array in jax.tree_util.tree_leaves_with_path(tree):
            name = f"{state.relative_to(folder)}{jax.tree_util.keystr(path)}"
            found[name] = np.asarray(array).tobytes()
    return found


def main() -> int:
    old, new = (Path(path).resolve() for path in sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        folders = []
        for checkout in (old, new):
            folders.append(Path(temporary, str(len(folders))))
            train(checkout, folders[-1])
        n_different = 0
        for name in RUNS:
            then, now = (content(folder / name) for folder in folders)
            different = [key for key in then.keys() | now.keys() if then.get(key) != now.get(key)]
            n_different += len(different)
            print(f"{name}: {len(now)} files and arrays, different: {sorted(different) or 'none'}")
    return int(n_different > 0)


if __name__ == "__main__":
    sys.exit(main())
