"""Trains and evaluates a model: `python train.py [--config=NAME[:MODEL]] [--config.a.b=V]`.

The workdir gets config.json, metrics.jsonl, TensorBoard files and checkpoints/ and, at the end,
evaluation.json, predictions_<split>.csv, plots and report.html. If the workdir holds a run,
training resumes from its last checkpoint.

Exit status: 0 done, 1 an error, reported in one line (for example, another process is using the
workdir), 2 wrong usage, 143 after SIGTERM, 130 after SIGINT (Ctrl-C). After these two signals,
training ends after its current step, which is saved; the next start resumes from there, with the
same bytes as a result as without the interruption. With --multihost, a process that fails ends the
others, with a status other than 0.
"""

import contextlib
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from damff_jax.run import train_flags
from damff_jax.system.places import check_room
from damff_jax.system.terminal import robust

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from damff_jax.evaluation.shares import SplitCurves
    from damff_jax.run.run import Run
    from input_pipeline.datasets import Dataset


@robust("train.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status."""
    arguments = train_flags.parse(argv or sys.argv, __doc__)
    # Frameworks take seconds to import, so the command line is checked first.
    from damff_jax.run.launch import launch

    command = tuple(argv or sys.argv)
    job = functools.partial(
        run, arguments.config, arguments.workdir, mode=arguments.mode, command=command
    )
    return launch(job, arguments.workdir, arguments.multihost)


def run(
    config: "ConfigDict", workdir: Path, *, mode: str = "train", command: Sequence[str] = ()
) -> dict[str, Any]:
    """Trains (unless `mode` is 'evaluate'), then evaluates; returns the data of evaluation.json.

    Args:
      command: the command line, for the report; empty if there is none.

    Raises:
      ValueError, OSError: an error in the configuration, the data or the workdir; the message is
        one line.
    """
    from damff_jax import weights
    from damff_jax.models import create_model
    from damff_jax.run import checkpoint, identity, processes, run_config
    from damff_jax.run.run import Run
    from damff_jax.run.train_log import banner
    from damff_jax.system.workdir_lock import workdir_lock
    from damff_jax.training import parallel, steps
    from input_pipeline import datasets
    from input_pipeline.splits import summary

    check_room(workdir)
    config = run_config.with_batch_size(config)
    run_config.check(config, mode)
    model = create_model(config.model, dtype=config.dtype, axis_name=steps.AXIS_NAME)
    start, origin = None, processes.from_first(lambda: checkpoint.load_meta(workdir))
    if mode == "evaluate" and origin is None:
        processes.from_first(lambda: checkpoint.check_exists(workdir))
    # A run that resumes already includes what it started from.
    if origin is None and config.init_from and mode == "train":
        start, origin = processes.in_all(lambda: weights.load(config.init_from))
        print(f"starting from step {origin['step']} of {config.init_from}")

    banner("data")
    dataset = processes.first_before_others(lambda: datasets.open_configured(config))
    print(f"{config.data.dataset} from {dataset.builder.data_dir}\n{summary(dataset.counts())}")
    meta = identity.checkpoint_meta(
        config,
        dataset=dataset.identity,
        files=dataset.digests(),
        origin=origin,
        resumed=start is None,
    )

    eval_step = parallel.map_eval_step(
        functools.partial(steps.eval_step, model=model), way=config.parallel
    )
    this = Run(config, model, eval_step, workdir, meta, start, command)
    with contextlib.ExitStack() as locked:
        # To the end, so that no other run changes the checkpoint during the evaluation.
        processes.from_first(lambda: locked.enter_context(workdir_lock(workdir)))
        if mode == "train":
            train(this, dataset)
        return evaluate(this, dataset)


def train(this: "Run", dataset: "Dataset") -> None:
    """Trains a run, step by step or in closed form, and saves the profile of its songs."""
    from damff_jax import weights
    from damff_jax.run import history, loop, processes, solver
    from damff_jax.run.run import Data
    from damff_jax.training.closed_form import SOLVABLE
    from input_pipeline.pipeline import train_batches

    def load() -> Data:
        songs, validation = dataset.load("train"), None
        if "validation" in dataset.song_ids:
            validation = dataset.share("validation", *processes.position())
        return Data(songs, validation, train_batches)

    # An error in one process is reported by all, before anything is compiled.
    data = processes.in_all(load)
    train_by = solver.solve if this.config.model.name in SOLVABLE else loop.train
    train_by(this, data)
    if processes.is_first():
        if dataset.heard is None:
            weights.keep_profile(this.workdir, data.train)
        history.end(this.workdir)


def evaluate(this: "Run", dataset: "Dataset") -> dict[str, Any]:
    """Evaluates a run's checkpoint on the configured splits; returns the data of evaluation.json.

    All processes compute the curves; the first writes the files.

    Raises:
      CheckpointError: there is none, or it belongs to another model or data set.
    """
    from damff_jax.report.training.workdir import write_facts
    from damff_jax.run import checkpoint, history, processes
    from damff_jax.run.run import curves_of, load_evaluated
    from damff_jax.run.train_log import banner
    from damff_jax.training import parallel

    banner("evaluation")
    config = this.config
    variables, step = load_evaluated(this)
    if processes.is_first():
        history.begin(this.workdir, "evaluate", this.command)
    apply = functools.partial(this.eval_step, parallel.replicate(variables))
    curves = {}
    for split in config.data.eval_splits:
        if split in dataset.song_ids:
            share = functools.partial(dataset.share, split, *processes.position())
            curves[split] = curves_of(config, apply, processes.in_all(share))
        else:
            print(f"{split}: no songs in the data set")
    with processes.all_others_done():
        if not processes.is_first():
            return {}
        summaries = write_results(this, dataset.builder.name, curves)
        n_parameters = checkpoint.n_parameters(variables)
        write_facts(this.workdir, step=step, n_parameters=n_parameters, data=dataset.facts())
        history.end(this.workdir)
        write_report(this.workdir)
        return summaries


def write_results(this: "Run", name: str, curves: Mapping[str, "SplitCurves"]) -> dict[str, Any]:
    """Writes the scores, predictions and plots of a run's curves, by split; returns the scores.

    Args:
      name: of the data set.
    """
    from damff_jax.evaluation import metrics, predictions
    from damff_jax.report import plots
    from damff_jax.run.metric_writer import read_metrics
    from damff_jax.system.command_line import printable
    from damff_jax.system.files import atomic_write

    if name == "synthetic":
        print("These songs are synthetic: the scores only show that the program works.")
    workdir, summaries = this.workdir, {}
    for split, found in curves.items():
        first, end = found.seconds()
        summaries[split] = metrics.summarize(found.curves) | {"seconds": [first, end]}
        title = f"{name}, {split} songs, seconds {first:g} to {end:g}"
        print(metrics.format_summary(title, summaries[split]))
        predictions.write(workdir / f"predictions_{split}.csv", *found)
        plots.plot_comparison(workdir / f"curves_{split}.png", title, *found)
    with atomic_write(workdir / "evaluation.json") as file:
        json.dump(summaries, file, indent=2, allow_nan=False)
    title = f"{name}: {printable(workdir.name)[:60]}"
    plots.plot_learning(workdir / "learning.png", title, read_metrics(workdir))
    print(f"wrote evaluation.json, predictions_<split>.csv and plots to {workdir}")
    return summaries


def write_report(workdir: Path) -> None:
    """Writes report.html from the workdir's other files; without it, the results are complete."""
    import warnings

    from damff_jax.report.pages import training_page
    from damff_jax.run.launch import ReportWarning

    try:
        training_page.write(workdir)
    except Exception as error:
        message = f"{workdir / 'report.html'} was not written: {error!r}"
        warnings.warn(message, ReportWarning, stacklevel=2)
    else:
        print(f"report: {workdir / 'report.html'}")


if __name__ == "__main__":
    sys.exit(main())
