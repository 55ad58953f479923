"""The runs of a study: a system on a fold with a seed, each a program in a process of its own.

    <study_dir>/[<protocol>/]<system>/fold<k>_seed<s>/    the run's workdir, and in it
        study.json                           its recipe, when it ended and how long it took;
                                             after an interruption, only since its last start
        log.txt                              its output, of all starts

A completed run is not repeated; an interrupted one resumes from its checkpoint.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from damff_jax import configs
from damff_jax.study import StudyError

PREDICTIONS = "predictions_test.csv"


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """A system on a fold with a seed.

    Attributes:
      recipe: arguments for Python, in which {workdir}, {init_from}, {manual_dir} and {data_dir} are
        placeholders for `places`. A run's identity does not depend on those. A first argument
        train.py means the package's, wherever it is installed.
      after: runs that must be completed before this one.
      predicts: whether it must write predictions of test songs.
      protocol: the study's protocol of the run; empty if the study does not name protocols.
    """

    system: str
    fold: int
    seed: int
    workdir: Path
    recipe: tuple[str, ...]
    places: Mapping[str, Any]
    after: tuple["StudyRun", ...] = ()
    predicts: bool = True
    protocol: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, [self.protocol, self.system, self.workdir.name]))

    def is_done(self) -> bool:
        """Whether the run is complete.

        Raises:
          StudyError: it was made by another command, by other settings of the config files, or from
            a run that has been repeated since.
        """
        record = self.record()
        changed = self._changed_settings()
        if record is not None and record["recipe"] != list(self.recipe):
            differing = set(map(str, record["recipe"])) ^ set(self.recipe)
            changed = sorted(differing) or ["in another order"]
        if changed:
            raise StudyError(
                f"{self.workdir} was made by another recipe ({', '.join(changed)}); "
                "run it with --again or use another --study_dir"
            )
        if record is None or (self.predicts and not (self.workdir / PREDICTIONS).is_file()):
            return False
        for run in self.after:
            before = run.record()
            if before is not None and before["ended"] > record["ended"]:
                raise StudyError(
                    f"{self.workdir} was made before {run}, which it starts from, was repeated; "
                    "run it with --again too"
                )
        return True

    def _changed_settings(self) -> list[str]:
        """The settings with which train.py ran that differ from the current config files."""
        path = self.workdir / "config.json"
        if self.recipe[0] != "train.py" or not path.exists():
            return []
        try:
            then = configs.flat(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise StudyError(f"{path}: not the config of a run ({error!r})") from error
        now = settings(self.recipe)
        # A setting added later is not in the stored config; by default it is off.
        return [
            f"{name}={then[name]!r}, now {now[name]!r}"
            for name in sorted(then.keys() & now.keys())
            if then[name] != now[name]
        ]

    def record(self) -> dict[str, Any] | None:
        """The content of study.json: `recipe`, `seconds`, and when the run `ended` (s since 1970, 0
        if unknown); None before the run is complete.

        Raises:
          StudyError: the file holds something else.
        """
        path = self.workdir / "study.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return {
                "recipe": list(record["recipe"]),
                "seconds": float(record["seconds"]),
                "ended": float(record.get("ended", 0)),
            }
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StudyError(f"{path}: not the record of a run ({error!r})") from error

    def command(self) -> list[str]:
        """The recipe with the places filled in."""
        command = list(self.recipe)
        if command[0] == "train.py":
            command[:1] = ["-m", "damff_jax.train"]
        for name, place in self.places.items():
            command = [argument.replace(f"{{{name}}}", str(place)) for argument in command]
        return [sys.executable, *command]


def settings(recipe: Sequence[str]) -> dict[str, Any]:
    """The settings, by their dotted names, of train.py's arguments, without the places.

    Raises:
      StudyError: the arguments are invalid.
    """
    from absl import flags
    from ml_collections import config_flags

    argv = [configs.with_path(argument) for argument in recipe if argument.startswith("--config")]
    places = {argument.partition("=")[0] for argument in argv if "{" in argument}
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["train.py", *argv])
    try:
        values(["train.py", *argv])
        config = configs.flat(json.loads(values.config.to_json()))
    except Exception as error:  # A config file is a program: it can raise anything.
        raise StudyError(f"{' '.join(argv)}: not a config ({error!r})") from error
    return {name: value for name, value in config.items() if f"--config.{name}" not in places}
