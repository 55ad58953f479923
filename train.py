"""Trains and evaluates a model: `python train.py [--config=configs/X.py[:MODEL]] [--config.a.b=V]`.

Into the workdir go config.json, metrics.jsonl, TensorBoard files and checkpoints/ and, at the end,
evaluation.json, predictions_<split>.csv and plots. A workdir that holds a run is gone on with.

Exit status: 0 done, 1 an error, named in one line (another run is at work in the workdir, say), 2
usage, 143 after SIGTERM, 130 after SIGINT (Ctrl-C). After these two, training ends with its present
step, which is saved; the next start goes on from there, to the same bytes as without a break. With
--multihost, a process that ends alone ends the others, with any status but 0.
"""

import contextlib
import dataclasses
import functools
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from damff_jax import (
    checkpoint,
    closed_form,
    compilation,
    evaluation,
    metrics,
    parallel,
    predictions,
    preemption,
    processes,
    report,
    run_config,
    steps,
    training,
    weights,
)
from damff_jax.checkpoint import CheckpointError, CheckpointWarning
from damff_jax.command_line import show_warnings
from damff_jax.features import FeatureConfig
from damff_jax.files import write_aside
from damff_jax.metric_writer import read_metrics
from damff_jax.models import create_model
from damff_jax.train_log import banner, format_seconds
from damff_jax.workdir_lock import WorkdirWarning, workdir_lock
from input_pipeline import datasets
from input_pipeline.base import hide_accelerators_from_tensorflow
from input_pipeline.datasets import Dataset
from input_pipeline.embeddings import read_embeddings
from input_pipeline.splits import SPLITS

ROOT = Path(__file__).resolve().parent


def run(config: ConfigDict, workdir: Path, *, mode: str = "train") -> dict[str, Any]:
    """Trains (unless `mode` is 'evaluate'), then evaluates; gives what evaluation.json holds.

    Raises:
      ValueError, OSError: the configuration, the data or the workdir is at fault; the message is
        one line.
    """
    run_config.check(config)
    if unknown := set(config.data.eval_splits) - set(SPLITS):
        raise ValueError(f"data.eval_splits: {unknown.pop()!r}; there are {', '.join(SPLITS)}")
    model = create_model(config.model, dtype=config.dtype, axis_name=steps.AXIS_NAME)
    solvable = closed_form.is_solvable(model)
    if config.init_from and solvable:
        raise ValueError(f"init_from: {config.model.name} is solved, so it starts from nothing")
    if mode == "evaluate" and jax.process_count() > 1:
        raise ValueError("mode evaluate is for one process")
    if solvable and jax.process_count() > 1:
        raise ValueError(f"{config.model.name} is solved by one process")
    if mode == "evaluate" and not workdir.is_dir():
        raise CheckpointError(f"{workdir}: no such directory, so no checkpoint in it")
    start, origin = None, processes.from_first(lambda: checkpoint.load_meta(workdir))
    # A run that goes on has what it started from in it.
    if origin is None and config.init_from and mode == "train":
        start, origin = weights.load(config.init_from)

    # -------------------------------------------------------------------------------- data
    banner("data")
    # The first prepares the data set, if need be, while the others wait.
    if jax.process_count() > 1:
        processes.from_first(lambda: bool(open_dataset(config)))
    data = open_dataset(config)
    for split, (n_songs, n_segments) in data.counts().items():
        print(f"  {split:<10} {n_songs:5d} songs  {n_segments:7d} segments")
    if data.teacher and data.teacher.size != config.model.teacher_size:
        raise ValueError(
            f"model.teacher_size: {config.model.teacher_size}, and the embeddings of "
            f"{data.teacher.path} have {data.teacher.size} dimensions"
        )
    if not set(config.data.eval_splits) & data.song_ids.keys():
        raise ValueError(f"none of data.eval_splits {tuple(config.data.eval_splits)} has songs")

    ancestors = list(origin.get("ancestors", ())) if origin else []
    if start is not None:
        ancestors.append(origin["identity"]["dataset"])
    meta = run_config.checkpoint_meta(
        config,
        dataset=data.identity,
        fingerprint=data.fingerprint,
        heard=data.heard and data.heard.digest,
        teacher=data.teacher and data.teacher.digest,
        ancestors=ancestors,
    )
    if start is not None:
        checkpoint.check_compatible(origin, meta, option="--config.init_from")
        print(f"starting from step {origin['step']} of {config.init_from}")

    # -------------------------------------------------------------------------------- the run
    eval_step = parallel.eval_step(functools.partial(steps.eval_step, model=model))
    this = training.Run(config, model, data, eval_step, workdir, meta, start)
    # Held to the end, because an evaluation must be one of the checkpoint that it names.
    with contextlib.ExitStack() as held:
        processes.from_first(lambda: held.enter_context(workdir_lock(workdir)))
        if mode == "train" and not solvable:
            training.train(this)
        if not processes.is_first():
            return {}
        try:
            if mode == "train" and solvable:
                training.solve(this)
            return evaluate(this)
        except BaseException as error:
            # The others are at their end.
            processes.agreed(error)
            raise


def evaluate(this: training.Run) -> dict[str, Any]:
    """Evaluates a run's checkpoint on the configured splits; gives what evaluation.json holds.

    Raises:
      CheckpointError: there is none, or it is of another model or data set.
    """
    banner("evaluation")
    config, workdir = this.config, this.workdir
    variables, stored = checkpoint.load_variables(workdir)
    checkpoint.check_compatible(stored, this.meta)
    print(f"checkpoint of step {stored['step']} from {workdir}")
    if config.data.dataset == "synthetic":
        print("These songs are synthetic: the scores say that the program works, no more.")
    apply = functools.partial(this.eval_step, parallel.replicate(variables))
    summaries = {}
    for split in config.data.eval_splits:
        if split not in this.data.song_ids:
            print(f"{split}: no songs in the data set")
            continue
        songs = this.data.load(split)
        curves = training.evaluate(config, apply, songs)
        summaries[split] = metrics.summarize(curves) | {"seconds": list(songs.seconds())}
        first, end = songs.seconds()
        title = f"{config.data.dataset}, {split} songs, seconds {first:g} to {end:g}"
        print(evaluation.format_summary(title, summaries[split]))
        times = {song.song_id: song.times_T for song in songs}
        predictions.write(workdir / f"predictions_{split}.csv", curves, times)
        report.plot_comparison(workdir / f"curves_{split}.png", title, curves, times)
    with write_aside(workdir / "evaluation.json") as file:
        json.dump(summaries, file, indent=2, allow_nan=False)
    events = read_metrics(workdir)
    report.plot_learning(workdir / "learning.png", f"{config.data.dataset}: {workdir}", events)
    print(f"wrote evaluation.json, predictions_<split>.csv and plots to {workdir}")
    return summaries


def open_dataset(config: ConfigDict) -> Dataset:
    """The configured data set, prepared."""
    data = config.data
    options, split = datasets.make_settings(data.dataset, data.options.to_dict())
    dataset = datasets.open_prepared(
        data.dataset,
        data_dir=data.data_dir,
        manual_dir=data.manual_dir,
        features=FeatureConfig(**config.features),
        options=options,
        split=split,
        workers=data.workers,
    )
    print(f"{data.dataset} from {dataset.builder.data_dir}")
    return dataclasses.replace(
        dataset,
        heard=read_embeddings(data.heard) if data.heard else None,
        teacher=read_embeddings(data.teacher) if data.teacher else None,
    )


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        print(f"train.py: error: unexpected argument {argv[1]!r}", file=sys.stderr)
        return 2
    logging.set_verbosity(logging.ERROR)
    show_warnings("train.py", CheckpointWarning, WorkdirWarning)
    hide_accelerators_from_tensorflow()
    compilation.use_cache()
    of_process = {
        name: flags.FLAGS[name].value
        for name in ("coordinator_address", "num_processes", "process_id")
    }
    if not flags.FLAGS.multihost and set(of_process.values()) != {None}:
        print("train.py: error: processes are told of each other with --multihost", file=sys.stderr)
        return 2
    workdir = Path(flags.FLAGS.workdir or default_workdir(flags.FLAGS["config"].config_filename))
    started = time.monotonic()
    try:
        if flags.FLAGS.multihost:
            # Before signals are handled, because JAX takes SIGTERM for itself.
            processes.initialize(**of_process)
        with preemption.raised(), contextlib.ExitStack() as stack:
            if not processes.is_first():
                silence = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(silence))
            run(flags.FLAGS.config, workdir, mode=flags.FLAGS.mode)
    except BaseException as error:
        status = tell_of(error)
        if jax.distributed.is_initialized() and not processes.is_agreed(error):
            if status is None:
                traceback.print_exc()
            processes.leave(status or 1)
        if status is None:
            raise
        return status
    print(f"done in {format_seconds(time.monotonic() - started)}")
    return 0


def tell_of(error: BaseException) -> int | None:
    """Tells in one line why a run has ended; gives the exit status, None if it is a bug."""
    if isinstance(error, preemption.Preempted):
        print(f"train.py: stopped by {error}", file=sys.stderr)
        return error.exit_status
    if isinstance(error, datasets.AlreadyReportedError):
        return 1
    if isinstance(error, (ValueError, OSError)):
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    return None


def default_workdir(config: str) -> Path:
    """runs/vgmidi for configs/vgmidi.py, and runs/vgmidi-ridge for configs/vgmidi.py:ridge."""
    path, _, model = config.partition(":")
    return Path("runs") / "-".join(filter(None, [Path(path).stem, model]))


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it or with the config file is one line."""
    try:
        config_flags.DEFINE_config_file("config", str(ROOT / "configs" / "synthetic.py"))
        flags.DEFINE_string("workdir", None, "where the run lives (default: runs/<config name>)")
        flags.DEFINE_bool("multihost", False, "train together with other processes")
        flags.DEFINE_string("coordinator_address", None, "HOST:PORT; where it cannot be found out")
        flags.DEFINE_integer("num_processes", None, "where it cannot be found out")
        flags.DEFINE_integer("process_id", None, "from 0; where it cannot be found out")
        flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "evaluate does not train")
        rest = flags.FLAGS(argv)
        # A file that cannot be loaded is noticed at the first use only.
        _ = flags.FLAGS.config.batch_size
        return rest
    except Exception as error:  # A config file is a program: it can raise anything.
        message = str(error)
        if isinstance(error, KeyError):
            message = f"the config has no such key: {error.args[0]}"
        elif "failed loading" in message.lower() or "whilst parsing config file" in message:
            message = f"the config file cannot be loaded: {message.splitlines()[-1].strip()}"
        print(f"train.py: error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
