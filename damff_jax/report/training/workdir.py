"""The files of a run's workdir that its report is made from."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from damff_jax.evaluation import predictions
from damff_jax.evaluation.metrics import DIMENSIONS, Curve
from damff_jax.evaluation.predictions import PredictionsError
from damff_jax.run import history
from damff_jax.run.metric_writer import read_metrics
from damff_jax.system.files import atomic_write

# What the evaluation knows of the checkpoint and of the data, and no other file says.
FACTS = "report.json"


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A split's curves, and the times (T,) of their segments in s, by song."""

    curves: Mapping[str, Curve]
    times: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A run, read from its files.

    Attributes:
      config: the settings.
      events: logged metrics, see `read_metrics`.
      splits: curves of every evaluated split.
      facts: see `write_facts`.
      starts: see `history`.
      ridge: the splits of a run of ridge regression on the same songs, if there is one.
    """

    config: Mapping[str, Any]
    events: list[dict[str, Any]]
    splits: Mapping[str, Evaluated]
    facts: Mapping[str, Any]
    starts: list[dict[str, Any]]
    ridge: Mapping[str, Evaluated]

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Workdir":
        """Reads an evaluated run.

        Raises:
          OSError, ValueError: a file is missing or damaged.
        """
        path = Path(path)
        config, names, facts = (
            json.loads((path / name).read_text(encoding="utf-8"))
            for name in ("config.json", "evaluation.json", FACTS)
        )
        splits = {name: _evaluated(path, name) for name in names}
        return cls(
            config, read_metrics(path), splits, facts, history.read(path),
            _ridge(path, config["model"]["name"], splits),
        )  # fmt: skip

    @property
    def model(self) -> str:
        return self.config["model"]["name"]

    @property
    def main_split(self) -> str:
        """The split whose songs the report shows: those for testing, if they were evaluated."""
        return "test" if "test" in self.splits else list(self.splits)[-1]

    def validation_events(self) -> list[dict[str, Any]]:
        return [event for event in self.events if f"validation/{DIMENSIONS[0]}/ccc" in event]


def write_facts(
    path: str | os.PathLike, *, step: int, n_parameters: int, data: Mapping[str, Any]
) -> None:
    """Saves what a report needs and no other file of a workdir holds.

    Args:
      step: of the evaluated checkpoint.
      n_parameters: of its model.
      data: see `data_page.write`.

    Raises:
      OSError: the file cannot be written.
    """
    # How long the build took is the machine's affair.
    report = {name: x for name, x in data["report"].items() if name != "build_seconds"}
    facts = {"step": step, "n_parameters": n_parameters, "data": {**data, "report": report}}
    with atomic_write(Path(path) / FACTS) as file:
        json.dump(facts, file)


def _evaluated(path: Path, split: str) -> Evaluated:
    return Evaluated(*predictions.read(path / f"predictions_{split}.csv"))


def _ridge(path: Path, model: str, splits: Mapping[str, Evaluated]) -> dict[str, Evaluated]:
    """The splits of a run next to this one, named as `train.py` or a study names it."""
    if model == "ridge":
        return {}
    path = path.absolute()
    stem = path.name.removesuffix(f"-{model}")
    for other in (path.with_name(f"{stem}-ridge"), path.parent.with_name("ridge") / path.name):
        found = {}
        for split, ours in splits.items():
            try:
                theirs = _evaluated(other, split)
            except PredictionsError:
                continue
            if _same_songs(ours, theirs):
                found[split] = theirs
        if found:
            return found
    return {}


def _same_songs(ours: Evaluated, theirs: Evaluated) -> bool:
    """Whether songs, times and labels are equal."""
    return ours.curves.keys() == theirs.curves.keys() and all(
        np.array_equal(ours.times[song], theirs.times[song])
        and np.array_equal(curve.truth_TxV, theirs.curves[song].truth_TxV, equal_nan=True)
        for song, curve in ours.curves.items()
    )
