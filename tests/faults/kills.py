"""Training that is killed at random moments and resumed, compared with an undisturbed run.

refused  resuming is refused with one line
handled  the run ends with the predictions and scores of the undisturbed one, byte for byte, and its
         log has each step once
silent   it ends with other results
"""

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np

from tests.faults.checkpoints import train

_MAX_KILLS = 2


def make_inputs(folder: Path, seed: int) -> None:
    """An undisturbed run, after one that fills the caches, and its duration."""
    del seed
    for name in ("first", "undisturbed"):
        started = time.monotonic()
        process = train(folder / "data", folder / name)
        _, err = process.communicate()
        if process.returncode:
            raise RuntimeError(err[-2000:])
    (folder / "seconds").write_text(str(time.monotonic() - started))


class Trials:
    def __init__(self, folder: Path, seed: int):
        self._seed = seed
        self._data_dir = folder / "data"
        self._seconds = float((folder / "seconds").read_text())
        self._workdir = folder.parent / f"kills_{id(self)}"
        self._whole = _results(folder / "undisturbed")

    def run(self, number: int) -> tuple[str, str]:
        rng = np.random.default_rng([self._seed, 5, number])
        shutil.rmtree(self._workdir, ignore_errors=True)
        moments = self._seconds * rng.uniform(0.2, 1.0, rng.integers(1, _MAX_KILLS + 1))
        self.what = f"killed after {', '.join(f'{x:.1f} s' for x in moments)}"
        for moment in moments:
            process = train(self._data_dir, self._workdir)
            try:
                process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        process = train(self._data_dir, self._workdir)
        _, err = process.communicate()
        lines = err.strip().splitlines()
        if process.returncode:
            refused = lines and lines[-1].startswith("train.py: error:")
            return "refused" if refused else "crashed", f"{self.what}: {lines[-1:]}"
        different = [k for k, x in _results(self._workdir).items() if x != self._whole[k]]
        if different:
            return "silent", f"{self.what}: different {', '.join(different)}"
        return "handled", self.what


def _results(workdir: Path) -> dict[str, object]:
    names = ("evaluation.json", "predictions_validation.csv", "predictions_test.csv")
    results: dict[str, object] = {name: (workdir / name).read_bytes() for name in names}
    events = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    results["steps logged"] = [event["step"] for event in events if "train/loss" in event]
    results["losses"] = [event["train/loss"] for event in events if "train/loss" in event]
    return results
