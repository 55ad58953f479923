"""All scores of a study, from the predictions of its runs."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from damff_jax.evaluation import metrics, predictions
from damff_jax.evaluation.metrics import Curve
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.study import StudyError, scores
from damff_jax.study.runs import PREDICTIONS, StudyRun
from damff_jax.system.command_line import program, show_warnings


def results_of_protocols(
    study: Mapping[str, Any], plans: Mapping[str, Sequence[StudyRun]]
) -> tuple[dict[str, Any], list[str]]:
    """All scores of the completed runs: {"reference", "protocols": {name: `results_of`}}.

    The name is empty if the study does not name protocols. Also returns why seeds are left out, one
    line each.
    """
    parts = {protocol: results_of(study, runs) for protocol, runs in plans.items()}
    results = {
        "reference": study["reference"],
        "protocols": {protocol: part for protocol, (part, _) in parts.items()},
    }
    return results, [reason for _, reasons in parts.values() for reason in reasons]


def results_of(
    study: Mapping[str, Any], runs: Sequence[StudyRun]
) -> tuple[dict[str, Any], list[str]]:
    """All scores of a protocol's completed runs.

    Returns:
      {"folds": [...], "seconds": [first, end] of the songs, "systems": {name: {"seeds", "n_songs",
      "n_points", "scores": {flat name: [mean, std over seeds]}, "by_seed": {seed: {flat name:
      score}}, "by_fold": {flat name: [mean over seeds, per fold]}, "against": {dimension:
      interval}, "parameters", "seconds"}}}, and why seeds are left out, one line each: made by
      another recipe, or predictions that cannot be scored. Only seeds with all folds completed
      count.

    Raises:
      StudyError: systems or folds are inconsistent.
    """
    by_system: dict[str, dict[int, list[StudyRun]]] = {}
    for run in runs:
        if not study["systems"][run.system].get("pretraining"):
            by_system.setdefault(run.system, {}).setdefault(run.seed, []).append(run)
    read: dict[str, _System] = {}
    left_out: list[str] = []
    for name, seeds in by_system.items():
        system = _read(seeds, left_out)
        if system.runs:
            read[name] = system
    systems = {name: system.to_json() for name, system in read.items()}
    reference = read.get(study["reference"])
    for name, system in read.items():
        if reference and system is not reference and system.has_truth_of(reference):
            groups = {song: _group(song, study["group"]) for song in system.curves[0]}
            intervals = scores.paired_intervals(system.curves, reference.curves, groups)
            systems[name]["against"] = {k: dataclasses.asdict(x) for k, x in intervals.items()}
    times = [time for system in read.values() for time in system.times]
    span = [min(times), max(times) + SEGMENT_SECONDS] if times else []
    folds = sorted({run.fold for run in runs})
    return {"folds": folds, "seconds": span, "systems": systems}, left_out


@dataclasses.dataclass
class _System:
    """The predictions of a system's runs, by seed.

    Attributes:
      runs: of every fold, by seed.
      per_fold: curves by song, of every fold, one list per seed.
      times: of the first and last segment of every song, s.
    """

    runs: dict[int, list[StudyRun]] = dataclasses.field(default_factory=dict)
    per_fold: list[list[Mapping[str, Curve]]] = dataclasses.field(default_factory=list)
    times: list[float] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def curves(self) -> list[dict[str, Curve]]:
        """Curves of all folds together, one mapping per seed."""
        return [scores.merge(folds) for folds in self.per_fold]

    def has_truth_of(self, other: "_System") -> bool:
        """Whether it is scored against the same labels; rows of human raters are not."""
        ours, theirs = self.curves[0], other.curves[0]
        return ours.keys() == theirs.keys() and all(
            np.array_equal(ours[song].truth_TxV, theirs[song].truth_TxV, equal_nan=True)
            for song in ours
        )

    def to_json(self) -> dict[str, Any]:
        summaries = [metrics.summarize(of_seed) for of_seed in self.curves]
        all_runs = [run for runs in self.runs.values() for run in runs]
        return {
            "seeds": list(self.runs),
            **{key: summaries[0][key] for key in ("n_songs", "n_points")},
            "scores": scores.mean_and_std(summaries),
            "by_seed": {
                seed: metrics.flatten(summary)
                for seed, summary in zip(self.runs, summaries, strict=True)
            },
            "by_fold": _by_fold(self.per_fold),
            "against": {},
            "parameters": _n_parameters(all_runs[0]),
            "seconds": float(
                np.median([record["seconds"] for run in all_runs if (record := run.record())])
            ),
        }


def _read(seeds: Mapping[int, list[StudyRun]], left_out: list[str]) -> _System:
    """A system's predictions for the seeds with all folds completed.

    Args:
      left_out: the reasons why seeds are left out are appended to it.
    """
    system = _System()
    for seed, runs in seeds.items():
        try:
            # All are checked, so that an unfinished run does not hide another one's error.
            if not all([run.is_done() for run in runs]):
                continue
            read = [predictions.read(run.workdir / PREDICTIONS) for run in runs]
        except (StudyError, predictions.PredictionsError) as error:
            left_out.append(str(error))
            continue
        system.runs[seed] = runs
        system.per_fold.append([curves for curves, _ in read])
        system.times += [t for _, times in read for x in times.values() for t in x[[0, -1]]]
    return system


def _by_fold(seeds: list[list[Mapping[str, Curve]]]) -> dict[str, list[float]]:
    flat_SxK = [[metrics.flatten(metrics.summarize(fold)) for fold in folds] for folds in seeds]
    return {
        name: np.mean([[flat[name] for flat in folds] for folds in flat_SxK], axis=0).tolist()
        for name in flat_SxK[0][0]
    }


def _group(song: str, pattern: str) -> str:
    """What the pattern's first group matches in a song's id; otherwise the id itself."""
    match = re.fullmatch(pattern, song) if pattern else None
    return match[1] if match else song


def _n_parameters(run: StudyRun) -> int | None:
    """The number of a run's trained values, if it has checkpoints."""
    if not (run.workdir / "checkpoints").is_dir():
        return None
    # Imported late, because they take seconds.
    from damff_jax.run import checkpoint

    show_warnings(program("study"), checkpoint.CheckpointWarning)
    try:
        variables, _ = checkpoint.load_variables(run.workdir)
    except checkpoint.CheckpointError as error:
        raise StudyError(str(error)) from error
    return checkpoint.n_parameters(variables)
