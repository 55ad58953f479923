"""Trains and evaluates a model: `python train.py [--config=configs/X.py[:MODEL]] [--config.a.b=V]`.

Into the workdir go config.json, metrics.jsonl, TensorBoard files and checkpoints/ and, at the end,
evaluation.json, predictions_<split>.csv and plots. A workdir that holds a run is gone on with.
"""

import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging
from flax import linen as nn
from ml_collections import ConfigDict, config_flags

from damff_jax import (
    checkpoint,
    closed_form,
    compilation,
    evaluation,
    losses,
    metrics,
    parallel,
    report,
    steps,
    train_state,
)
from damff_jax.checkpoint import CheckpointError, Checkpoints
from damff_jax.features import FeatureConfig
from damff_jax.files import write_aside
from damff_jax.inference import Windowing
from damff_jax.metric_writer import MetricWriter, read_metrics
from damff_jax.models import create_model
from damff_jax.optim import OptimConfig, learning_rate_schedule, make_optimizer
from damff_jax.train_log import TrainLog, format_seconds
from input_pipeline import datasets, pipeline
from input_pipeline.base import SongBuilder, hide_accelerators_from_tensorflow
from input_pipeline.corpus import SPLITS

ROOT = Path(__file__).resolve().parent


class AlreadyReportedError(ValueError):
    """A failure whose reason another process has printed."""


def run(config: ConfigDict, workdir: Path, *, mode: str = "train") -> dict[str, Any]:
    """Trains (unless `mode` is 'evaluate'), then evaluates; gives what evaluation.json holds.

    Raises:
      ValueError, OSError: the configuration, the data or the workdir is at fault; the message is
        one line.
    """
    features, optim = check_config(config)
    model = create_model(config.model, dtype=config.dtype, axis_name=steps.AXIS_NAME)

    if config.init_from and closed_form.is_solvable(model):
        raise ValueError(f"init_from: {config.model.name} is solved, so it starts from nothing")
    if mode == "evaluate" and not workdir.is_dir():
        raise CheckpointError(f"{workdir}: no such directory, so no checkpoint in it")

    # -------------------------------------------------------------------------------- data
    banner("data")
    builder = open_dataset(config.data, features)
    for split, count in builder.info.metadata["report"]["splits"].items():
        print(f"  {split:<10} {count['n_songs']:5d} songs  {count['n_segments']:7d} segments")

    if not set(config.data.eval_splits) & builder.info.metadata["report"]["splits"].keys():
        raise ValueError(f"none of data.eval_splits {tuple(config.data.eval_splits)} has songs")

    eval_step = parallel.eval_step(functools.partial(steps.eval_step, model=model))
    if mode == "train":
        if closed_form.is_solvable(model):
            solve(config, model, builder, eval_step, workdir)
        else:
            train(config, optim, model, builder, eval_step, workdir)

    # -------------------------------------------------------------------------------- evaluation
    banner("evaluation")
    variables, meta = checkpoint.load_variables(workdir)
    checkpoint.check_compatible(meta, checkpoint_meta(config, builder))
    print(f"checkpoint of step {meta['step']} from {workdir}")
    if config.data.dataset == "synthetic":
        print("These songs are synthetic: the scores say that the program works, no more.")
    apply = functools.partial(eval_step, parallel.replicate(variables))
    summaries = {}
    for split in config.data.eval_splits:
        if split not in builder.info.metadata["report"]["splits"]:
            print(f"{split}: no songs in the data set")
            continue
        songs = pipeline.load_songs(builder, split)
        curves = evaluate(config, apply, songs)
        summaries[split] = metrics.summarize(curves)
        title = f"{config.data.dataset}, {split} songs"
        print(evaluation.format_summary(title, summaries[split]))
        times = {song.song_id: song.times_T for song in songs}
        evaluation.write_predictions(workdir / f"predictions_{split}.csv", curves, times)
        report.plot_comparison(workdir / f"curves_{split}.png", title, curves, times)
    with write_aside(workdir / "evaluation.json") as file:
        json.dump(summaries, file, indent=2, allow_nan=False)
    events = read_metrics(workdir)
    report.plot_learning(workdir / "learning.png", f"{config.data.dataset}: {workdir}", events)
    print(f"wrote evaluation.json, predictions_<split>.csv and plots to {workdir}")
    return summaries


def train(
    config: ConfigDict,
    optim: OptimConfig,
    model: nn.Module,
    builder: SongBuilder,
    eval_step: Callable,
    workdir: Path,
) -> None:
    """Trains from the workdir's latest checkpoint, or from the start, to the last step."""
    # -------------------------------------------------------------------------------- model
    schedule = learning_rate_schedule(optim, config.num_train_steps)
    optimizer = make_optimizer(optim, schedule)
    state = first_state(config, model, builder, optimizer, with_ema=optim.ema_decay > 0)

    workdir.mkdir(parents=True, exist_ok=True)
    meta = checkpoint_meta(config, builder)
    with Checkpoints(workdir) as checkpoints:
        # ---------------------------------------------------------------------------- restore
        restored = checkpoints.restore_latest(state, meta)
        if restored is not None:
            state = restored
            print(f"going on from step {int(state.step)} of {workdir}")
        elif config.init_from:
            state = warm_start(state, config, meta)
        first_step = int(state.step)
        if first_step % config.steps_per_call:
            raise ValueError(
                f"{workdir} is at step {first_step}, no multiple of steps_per_call "
                f"{config.steps_per_call}"
            )
        with write_aside(workdir / "config.json") as file:
            json.dump(meta["config"], file, indent=2)

        # ---------------------------------------------------------------------------- the loop
        banner("training")
        step = functools.partial(
            steps.train_step,
            model=model,
            optimizer=optimizer,
            loss_weights=config.loss.to_dict(),
            ema_decay=optim.ema_decay,
            seed=config.seed,
        )
        crops = pipeline.Crops(
            pipeline.load_songs(builder, "train"),
            batch_size=config.batch_size,
            crop_segments=config.data.crop_segments,
            seed=config.seed,
            first_step=first_step,
            steps_per_call=config.steps_per_call,
            n_devices=jax.local_device_count(),
        )
        train_step, batches = feed(step, crops, on_device=config.data.on_device)
        validation_songs = load_validation_songs(builder)

        with MetricWriter(workdir, first_step=first_step) as writer:
            log = TrainLog(
                writer,
                name=config.data.dataset,
                schedule=schedule,
                batch_size=config.batch_size,
                first_step=first_step,
                num_steps=config.num_train_steps,
            )
            n = config.steps_per_call
            for step in range(first_step + n, config.num_train_steps + 1, n):
                state, step_metrics = train_step(state, next(batches))
                last = step == config.num_train_steps
                if step == first_step + n:
                    log.started(step, step_metrics)
                if step % config.log_every_steps == 0 or last:
                    log.add(step, step_metrics)

                if validation_songs and (step % config.eval_every_steps == 0 or last):
                    with log.pause():
                        summary, score = validate(config, eval_step, state, validation_songs)
                        log.validation(step, summary)
                        if config.select == "best":
                            checkpoints.save_if_best(state, meta, score)
                if step % config.checkpoint_every_steps == 0 or last:
                    # What is logged must be on disk before a state that will not log it again.
                    with log.pause():
                        checkpoints.save(state, meta)


def warm_start(
    state: train_state.TrainState, config: ConfigDict, meta: dict[str, Any]
) -> train_state.TrainState:
    """The state before the first step, with the variables of the run `config.init_from`.

    Raises:
      CheckpointError, FeatureMismatchError: that run has no checkpoint, or one of another model, of
        other features or of other splits of the same data set.
    """
    variables, stored = checkpoint.load_variables(config.init_from)
    checkpoint.check_compatible(stored, meta, option="--config.init_from")
    print(f"starting from step {stored['step']} of {config.init_from}")
    return state.warm_start(jax.tree.map(np.asarray, variables))


def solve(
    config: ConfigDict,
    model: nn.Module,
    builder: SongBuilder,
    eval_step: Callable,
    workdir: Path,
) -> None:
    """Trains a model that has a closed-form solution; a solution counts as a step.

    Validation chooses among the solutions as it does among the steps of a training.
    """
    # -------------------------------------------------------------------------------- model
    state = first_state(config, model, builder, optax.identity(), with_ema=False)
    workdir.mkdir(parents=True, exist_ok=True)
    meta = checkpoint_meta(config, builder)
    with Checkpoints(workdir) as checkpoints:
        if checkpoints.restore_latest(state, meta) is not None:
            print(f"{workdir} holds the solution")
            return
        with write_aside(workdir / "config.json") as file:
            json.dump(meta["config"], file, indent=2)

        # ---------------------------------------------------------------------------- solutions
        banner("solving")
        validation_songs = load_validation_songs(builder)
        feature_step = parallel.eval_step(functools.partial(closed_form.feature_step, model=model))
        solutions = closed_form.solutions(
            model,
            functools.partial(feature_step, state.eval_variables()),
            pipeline.load_songs(builder, "train"),
            windowing=Windowing.of(config),
            batch_size=config.data.eval_batch_size,
            validated=validation_songs is not None,
        )
        best, chosen = -math.inf, state
        with MetricWriter(workdir, first_step=0) as writer:
            for step, solution in enumerate(solutions, start=1):
                values = {"params": solution.params, "batch_stats": solution.batch_stats}
                values = jax.tree.map(jnp.asarray, values)
                state = parallel.replicate(state.replace(step=jnp.int32(step), **values))
                if validation_songs is None:
                    print(f"{solution.description}, not validated: there are no validation songs")
                    chosen = state
                    continue
                summary, score = validate(config, eval_step, state, validation_songs)
                writer.write(step, metrics.flatten(summary, "validation/"))
                v, a = (summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS)
                print(f"{solution.description}: validation CCC valence {v:.3f} arousal {a:.3f}")
                if score > best:
                    best, chosen = score, state
        if validation_songs is not None:
            checkpoints.save_if_best(chosen, meta, best)
        checkpoints.save(chosen, meta)


def first_state(
    config: ConfigDict,
    model: nn.Module,
    builder: SongBuilder,
    optimizer: optax.GradientTransformation,
    *,
    with_ema: bool,
) -> train_state.TrainState:
    """The state before the first step, on all devices; tells of the model."""
    banner("model")
    mel = builder.info.metadata["mel"]
    state = train_state.create(
        model,
        optimizer,
        seed=config.seed,
        segment_shape=(builder.features.frames_per_segment, builder.features.n_mels),
        input_stats={name: np.asarray(mel[name]) for name in ("mean", "std")},
        with_ema=with_ema,
    )
    n_params = sum(x.size for x in jax.tree.leaves(state.params))
    device = jax.local_devices()[0].device_kind
    print(f"{config.model.name}: {n_params:,} parameters, {config.dtype}")
    print(f"on {jax.local_device_count()} × {device}, JAX {jax.__version__}")
    return parallel.replicate(state)


def validate(
    config: ConfigDict,
    eval_step: Callable,
    state: train_state.TrainState,
    songs: pipeline.Songs,
) -> tuple[dict[str, Any], float]:
    """A state's scores on the validation songs, and the one to choose by: the mean pooled CCC."""
    apply = functools.partial(eval_step, state.eval_variables())
    summary = metrics.summarize(evaluate(config, apply, songs))
    ccc_V = [summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS]
    return summary, float(np.mean(ccc_V))


def load_validation_songs(builder: SongBuilder) -> pipeline.Songs | None:
    """The validation split, if the data set has one."""
    if "validation" not in builder.info.metadata["report"]["splits"]:
        return None
    return pipeline.load_songs(builder, "validation")


def check_config(config: ConfigDict) -> tuple[FeatureConfig, OptimConfig]:
    """Checks what can be checked before anything is computed.

    Raises:
      ValueError: naming the key that is at fault.
    """
    for name in (
        "steps_per_call",
        "num_train_steps",
        "log_every_steps",
        "eval_every_steps",
        "checkpoint_every_steps",
    ):
        if config[name] < 1:
            raise ValueError(f"{name} must be positive, not {config[name]}")
        if config[name] % config.steps_per_call:
            raise ValueError(
                f"{name} {config[name]} is no multiple of steps_per_call {config.steps_per_call}"
            )
    n_devices = jax.local_device_count()
    for name, size in (
        ("batch_size", config.batch_size),
        ("data.eval_batch_size", config.data.eval_batch_size),
    ):
        if size < 1 or size % n_devices:
            raise ValueError(f"{name} {size} is no positive multiple of the {n_devices} devices")
    for name, value in (("seed", config.seed), ("data.workers", config.data.workers)):
        if value < 0:
            raise ValueError(f"{name} must not be negative")
    if config.select not in ("best", "latest"):
        raise ValueError(f"select: {config.select!r}; there are best, latest")
    if unknown := set(config.data.eval_splits) - set(SPLITS):
        raise ValueError(f"data.eval_splits: {unknown.pop()!r}; there are {', '.join(SPLITS)}")
    Windowing.of(config)
    losses.check_weights(config.loss.to_dict())
    features = FeatureConfig(**config.features)
    # Three times the model halves both, the join along time makes up for one halving.
    if features.frames_per_segment < 8 or features.n_mels < 8:
        raise ValueError("features: a segment needs 8 frames and 8 Mel bins or more")
    return features, OptimConfig(**config.optim)


def feed(
    step: Callable, crops: pipeline.Crops, *, on_device: bool
) -> tuple[Callable, Iterator[Any]]:
    """The train step on all devices, and what it takes for its batches."""
    if not on_device:
        train_step = parallel.train_step(functools.partial(steps.train_steps, step=step))
        return train_step, parallel.prefetch(pipeline.train_batches(crops))
    check_fits(crops.songs, jax.local_devices()[0])
    train_step = parallel.train_step_on_songs(
        step, crops.songs.arrays(), crop_segments=crops.crop_segments
    )
    return train_step, parallel.prefetch(crops.calls())


def check_fits(songs: pipeline.Songs, device: jax.Device) -> None:
    """Refuses a training split that would fill a device's memory.

    Raises:
      ValueError: it takes more than half of it.
    """
    size = sum(array.nbytes for array in songs.arrays().values())
    limit = (device.memory_stats() or {}).get("bytes_limit", math.inf)
    if size > limit / 2:
        raise ValueError(
            f"data.on_device: the training songs take {size / 2**30:.1f} GiB, and the device has "
            f"{limit / 2**30:.1f} GiB"
        )


def open_dataset(data: ConfigDict, features: FeatureConfig) -> SongBuilder:
    """The builder of the configured data set, prepared in a process of its own if need be."""
    options = data.options.to_dict()
    builder = functools.partial(
        datasets.open_builder,
        data.dataset,
        data_dir=data.data_dir,
        features=features,
        options=datasets.make_options(data.dataset, options),
    )
    if data.manual_dir and not Path(data.manual_dir).is_dir():
        raise ValueError(f"data.manual_dir: {data.manual_dir} is no directory")
    built = builder()
    fresh = datasets.is_built(built)
    if fresh and data.manual_dir and built.MANUAL_DOWNLOAD_INSTRUCTIONS:
        fresh = not datasets.is_outdated(built, data.manual_dir)
    if not fresh:
        command = [sys.executable, "-m", "input_pipeline.prepare", f"--dataset={data.dataset}"]
        command += [f"--data_dir={data.data_dir}"]
        command += [f"--manual_dir={data.manual_dir}"] if data.manual_dir else []
        command += [f"--workers={data.workers}"] if data.workers else []
        knobs = {f"features.{name}": x for name, x in dataclasses.asdict(features).items()}
        for name, x in (knobs | options).items():
            command.append(f"--{name}={x}")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        print(f"preparing {data.dataset}", flush=True)
        if subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode:
            raise AlreadyReportedError(f"the data set {data.dataset} could not be prepared")
        built = builder()
    print(f"{built.name} from {built.data_dir}")
    return built


def evaluate(config: ConfigDict, apply, songs: pipeline.Songs) -> dict[str, metrics.Curve]:
    """Curves of a split's songs, by song id."""
    windowing = Windowing.of(config)
    return evaluation.evaluate(
        apply, songs, windowing=windowing, batch_size=config.data.eval_batch_size
    )


def checkpoint_meta(config: ConfigDict, builder: SongBuilder) -> dict[str, Any]:
    """What a checkpoint says of itself; a run that goes on must have the same identity."""
    identity = {
        **{name: config[name] for name in ("seed", "batch_size", "dtype")},
        "crop_segments": config.data.crop_segments,
        "dataset": f"{builder.name}/{builder.builder_config.name}",
        "files": builder.info.metadata.get("fingerprint"),
        **{name: config[name] for name in ("select", "init_from")},
        "loss": config.loss.to_dict(),
        "optim": config.optim.to_dict(),
    }
    return {
        "config": json.loads(config.to_json()),
        "features": builder.features.to_json(),
        "identity": identity,
    }


def banner(title: str) -> None:
    print(f"--- {title} ".ljust(80, "-"), flush=True)


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        print(f"train.py: error: unexpected argument {argv[1]!r}", file=sys.stderr)
        return 2
    logging.set_verbosity(logging.ERROR)
    hide_accelerators_from_tensorflow()
    compilation.use_cache()
    workdir = Path(flags.FLAGS.workdir or default_workdir(flags.FLAGS["config"].config_filename))
    started = time.monotonic()
    try:
        run(flags.FLAGS.config, workdir, mode=flags.FLAGS.mode)
    except AlreadyReportedError:
        return 1
    except (ValueError, OSError) as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    print(f"done in {format_seconds(time.monotonic() - started)}")
    return 0


def default_workdir(config: str) -> Path:
    """runs/vgmidi for configs/vgmidi.py, and runs/vgmidi-ridge for configs/vgmidi.py:ridge."""
    path, _, model = config.partition(":")
    return Path("runs") / "-".join(filter(None, [Path(path).stem, model]))


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it or with the config file is one line."""
    try:
        config_flags.DEFINE_config_file("config", str(ROOT / "configs" / "synthetic.py"))
        flags.DEFINE_string("workdir", None, "where the run lives (default: runs/<config name>)")
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
