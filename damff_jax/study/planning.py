"""The runs of which a study consists."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from damff_jax.study import StudyError
from damff_jax.study.runs import StudyRun


def plan(
    study: Mapping[str, Any],
    study_dir: Path,
    *,
    systems: Sequence[str],
    folds: Sequence[int],
    seeds: Sequence[int],
    protocol: str = "",
    manual_dir: str = "",
    data_dir: str = "data",
    extra: Sequence[str] = (),
) -> list[StudyRun]:
    """The runs of some of a study's systems, including pretraining, in an order to run them.

    Args:
      study: see `configs/studies/vgmidi.py` for its entries.
      extra: arguments added to every command of `train.py`.

    Raises:
      StudyError: the study has no such system, or systems start from each other.
    """
    places = {"manual_dir": manual_dir, "data_dir": data_dir}
    planned = _Plan(study["systems"], study_dir, protocol, places, extra)
    # Seed by seed, so that an interrupted study has a table of fewer seeds.
    for seed in seeds:
        for name in systems:
            for fold in folds:
                planned.add(name, fold, seed)
    return list(planned.runs.values())


@dataclasses.dataclass
class _Plan:
    """Runs by their workdir; each follows those that it starts from."""

    systems: Mapping[str, Mapping[str, Any]]
    study_dir: Path
    protocol: str
    places: Mapping[str, str]
    extra: Sequence[str]
    runs: dict[Path, StudyRun] = dataclasses.field(default_factory=dict)

    def add(self, name: str, fold: int, seed: int, *followers: str) -> StudyRun:
        """The run of a system; adds it, and those that it starts from, unless already planned.

        Args:
          followers: systems that start from this one.
        """
        if name in followers:
            raise StudyError(f"systems that start from each other: {', '.join(followers)}")
        if name not in self.systems:
            raise StudyError(f"unknown system {name!r}; available: {', '.join(self.systems)}")
        system = self.systems[name]
        # A pretraining uses no song of any fold, so all folds share it.
        pretraining = bool(system.get("pretraining"))
        if pretraining and any("{fold}" in argument for argument in system["command"]):
            raise StudyError(
                f"pretraining {name!r} is shared by all folds, but its command has {{fold}}"
            )
        stem = f"seed{seed}" if pretraining else f"fold{fold}_seed{seed}"
        workdir = self.study_dir / name / stem
        if workdir in self.runs:
            return self.runs[workdir]
        places: dict[str, Any] = {"workdir": workdir, **self.places}
        after: tuple[StudyRun, ...] = ()
        if origin := system.get("init_from"):
            after = (self.add(origin, fold, seed, *followers, name),)
            places["init_from"] = after[0].workdir
        recipe = self._recipe(system["command"], fold, seed)
        predicts = not pretraining
        run = StudyRun(name, fold, seed, workdir, recipe, places, after, predicts, self.protocol)
        return self.runs.setdefault(workdir, run)

    def _recipe(self, command: Sequence[str], fold: int, seed: int) -> tuple[str, ...]:
        values = {"{fold}": str(fold), "{seed}": str(seed), "{protocol}": self.protocol}
        recipe = list(command)
        for name, value in values.items():
            recipe = [argument.replace(name, value) for argument in recipe]
        return (*recipe, *(self.extra if recipe[0] == "train.py" else ()))
