"""The whole program on a handful of tiny songs."""

import csv
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from damff_jax import predict, weights
from damff_jax.audio import AudioError
from damff_jax.configs import synthetic
from damff_jax.evaluation import metrics, predictions
from damff_jax.evaluation.metrics import Curve
from damff_jax.features import FeatureConfig
from damff_jax.models import create_model
from damff_jax.report.pages import training_page
from damff_jax.run import checkpoint, checkpoint_files, history, loop, train_flags
from damff_jax.run.checkpoint import CheckpointError
from damff_jax.run.identity import check_compatible
from damff_jax.run.launch import ReportWarning
from damff_jax.run.metric_writer import MetricWriter, read_metrics
from damff_jax.run.run import curves_of
from damff_jax.run.train_log import NotFiniteError
from damff_jax.songs import Songs
from damff_jax.system import command_line
from damff_jax.system.workdir_lock import WorkdirInUseError, workdir_lock
from damff_jax.training import parallel, steps, train_state
from damff_jax.training.crops import CropPlan, Crops
from input_pipeline import datasets
from input_pipeline.datasets import Dataset
from input_pipeline.pipeline import train_batches

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def tiny_config(data_dir, model="damff", **changes):
    config = synthetic.get_config(model)
    config.batch_size, config.data.eval_batch_size = 4, 1
    config.num_train_steps = 6
    config.log_every_steps = 1
    config.eval_every_steps = config.checkpoint_every_steps = 3
    config.features.update(sample_rate=8000, n_fft=512, win_length=480, hop_length=400, n_mels=16)
    if model == "damff":
        # What a run does to a model can be seen by one branch, which is traced in half of the time.
        config.model.update(branches="a", channels=(2, 2, 4), hidden_size=4, dropout_rate=0.2)
    config.optim.ema_decay = 0.9
    config.data.update(data_dir=str(data_dir), crop_segments=8, overlap=2, workers=1)
    with config.data.options.unlocked():
        config.data.options.update(seed=0, n_clips=4, n_test=2, duration_s=6.0, sample_rate=16_000)
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """A finished run: its workdir, and what it returned."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, train.run(tiny_config(data_dir), workdir)


def test_a_run_leaves_the_documented_files(finished):
    workdir, _ = finished
    names = {path.name for path in workdir.iterdir()}
    assert names >= {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "evaluation.json",
        "predictions_validation.csv",
        "predictions_test.csv",
        "curves_test.png",
        "learning.png",
        "report.html",
        "model_card.md",
        "history.json",
    }
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert json.loads((workdir / "config.json").read_text())["num_train_steps"] == 6


def test_every_segment_of_every_test_song_is_predicted_once(finished):
    workdir, _ = finished
    with open(workdir / "predictions_test.csv") as file:
        rows = [(row["song_id"], float(row["time_s"])) for row in csv.DictReader(file)]
    assert rows == [(song, 0.5 * i) for song in ("2001", "2002") for i in range(12)]


def test_scores_can_be_recomputed_from_the_predictions(finished):
    workdir, returned = finished
    stored = json.loads((workdir / "evaluation.json").read_text())
    assert stored == returned
    for split in ("validation", "test"):
        table = np.genfromtxt(
            workdir / f"predictions_{split}.csv", delimiter=",", names=True, dtype=None
        )
        curves = {}
        for song in np.unique(table["song_id"]):
            rows = table[table["song_id"] == song]
            truth = np.stack([rows["valence_true"], rows["arousal_true"]], -1)
            prediction = np.stack([rows["valence"], rows["arousal"]], -1)
            curves[song] = Curve(prediction, truth, ~np.isnan(truth))
        again = metrics.summarize(curves)
        for name in metrics.DIMENSIONS:
            for way, scores in stored[split][name].items():
                assert again[name][way] == pytest.approx(scores, abs=1e-7)


def test_the_log_has_every_step_once(finished):
    workdir, _ = finished
    events = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events if "train/loss" in e] == [1, 2, 3, 4, 5, 6]
    assert [e["step"] for e in events if "validation/arousal/ccc" in e] == [3, 6]


def test_every_validation_logs_the_loss_of_whole_songs(finished):
    workdir, _ = finished
    events = [e for e in read_metrics(workdir) if "validation/loss" in e]
    assert [event["step"] for event in events] == [3, 6]
    for event in events:
        ccc = [event[f"validation/{name}/ccc"] for name in metrics.DIMENSIONS]
        assert event["validation/loss"] == pytest.approx(1 - np.mean(ccc))


def report_without_times(workdir):
    page = (workdir / "report.html").read_text()
    return page.partition('<section id="times"')[0]


def test_the_report_has_the_constants_error_and_every_start(finished, data_dir):
    workdir, returned = finished
    songs = datasets.open_configured(tiny_config(data_dir)).load("train")
    truth = predictions.read(workdir / "predictions_test.csv")[0]
    page = (workdir / "report.html").read_text()
    for v, name in enumerate(metrics.DIMENSIONS):
        mean = songs.labels_RxV[songs.mask_RxV[:, v], v].mean()
        errors = np.concatenate([mean - c.truth_TxV[c.mask_TxV[:, v], v] for c in truth.values()])
        row = rf"{name}, constant</bdi></th><td>[^<]*</td><td>([\d.]+)"
        assert float(re.search(row, page)[1]) == pytest.approx(
            np.sqrt(np.mean(errors**2)), abs=1e-3
        )
        assert f"{returned['test'][name]['pooled']['rmse']:.3f}" in page
    starts = history.read(workdir)
    assert [start["mode"] for start in starts[:2]] == ["train", "evaluate"]
    assert all(history.seconds(start) > 0 for start in starts)
    assert starts[0]["versions"]["jax"] == jax.__version__


def test_evaluating_again_writes_the_same_report(finished, data_dir):
    workdir, _ = finished
    before = report_without_times(workdir)
    (workdir / "report.html").unlink()
    train.run(tiny_config(data_dir), workdir, mode="evaluate", command=["damff-train", "--x=a b"])
    assert report_without_times(workdir) == before
    assert history.read(workdir)[-1]["command"] == ["damff-train", "--x=a b"]


def test_a_report_that_cannot_be_written_loses_nothing(finished, data_dir, monkeypatch):
    workdir, returned = finished

    def fail(path):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(training_page, "write", fail)
    with pytest.warns(ReportWarning, match=r"report\.html was not written: ZeroDivisionError"):
        assert train.run(tiny_config(data_dir), workdir, mode="evaluate") == returned


class StopError(Exception):
    """Interrupts a run."""


def run_interrupted(config, workdir, monkeypatch, *, after):
    """A run that is interrupted by an exception after the metrics of step `after` are written."""
    write = MetricWriter.write

    def stop(self, step, values):
        if step > after:
            raise StopError
        write(self, step, values)

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(MetricWriter, "write", stop)
        train.run(config, workdir)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_resumed_run_equals_an_uninterrupted_one(finished, data_dir, tmp_path, k, monkeypatch):
    """Interruptions before, at and after a save; steps that were not saved are repeated."""
    workdir, returned = finished
    run_interrupted(tiny_config(data_dir), tmp_path, monkeypatch, after=k)
    assert train.run(tiny_config(data_dir), tmp_path) == returned
    log = (tmp_path / "metrics.jsonl").read_text()
    assert log == (workdir / "metrics.jsonl").read_text()
    assert report_without_times(tmp_path) == report_without_times(workdir)
    interrupted, *others = history.read(tmp_path)
    assert interrupted["ended"] is None and "interrupted" in (tmp_path / "report.html").read_text()
    assert [start["mode"] for start in others] == ["train", "evaluate"]
    for name in ("best", "latest"):
        ours = (p for p in sorted((workdir / "checkpoints" / name).iterdir()) if p.is_dir())
        theirs = (p for p in sorted((tmp_path / "checkpoints" / name).iterdir()) if p.is_dir())
        assert [p.name for p in ours] == [p.name for p in theirs]
    predictions = (path / "predictions_test.csv" for path in (workdir, tmp_path))
    assert next(predictions).read_bytes() == next(predictions).read_bytes()
    ours, theirs = (everything_in_the_latest_checkpoint(path) for path in (workdir, tmp_path))
    assert len(ours) > 90
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_latest_state_can_be_the_one_that_counts(finished, data_dir, tmp_path, monkeypatch):
    config = tiny_config(data_dir, select="latest")
    run_interrupted(config, tmp_path, monkeypatch, after=4)
    train.run(config, tmp_path)
    assert not (tmp_path / "checkpoints/best").exists()
    assert checkpoint.load_variables(tmp_path)[1]["step"] == 6
    ours, theirs = (everything_in_the_latest_checkpoint(path) for path in (finished[0], tmp_path))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def everything_in_the_latest_checkpoint(workdir):
    """Parameters, moments of the optimiser, statistics, moving average, step."""
    step = max(int(path.name) for path in (workdir / "checkpoints/latest").iterdir())
    return jax.tree.leaves(checkpoint_files.restore_state(workdir / f"checkpoints/latest/{step}"))


def test_tensorboard_drops_what_was_logged_after_the_resumed_step(tmp_path):
    for first_step, last_step in ((0, 3), (2, 4)):
        with MetricWriter(tmp_path, first_step=first_step) as writer:
            for step in range(first_step + 1, last_step + 1):
                writer.write(step, {"train/loss": 10 * first_step + step})
        time.sleep(1.1)  # Files are named by the second, and read in the order of their names.
    accumulator = EventAccumulator(str(tmp_path), purge_orphaned_data=True).Reload()
    shown = [(event.step, event.value) for event in accumulator.Scalars("train/loss")]
    assert shown == [(1, 1), (2, 2), (3, 23), (4, 24)]


def log_events(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return {(event.pop("step"), *sorted(event)): event for event in map(json.loads, lines)}


@pytest.mark.parametrize(
    "changes",
    [
        {"data.on_device": True},
        {"steps_per_call": 3},
        {"data.on_device": True, "steps_per_call": 3},
    ],
    ids=str,
)
def test_other_ways_to_feed_the_devices_give_the_same_run(finished, data_dir, tmp_path, changes):
    workdir, _ = finished
    train.run(tiny_config(data_dir, **changes, log_every_steps=3), tmp_path)
    ours, theirs = log_events(tmp_path), log_events(workdir)
    assert len(ours) == 4
    for key, values in ours.items():
        assert values == pytest.approx(theirs[key], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("k", [0, 4])
def test_a_run_on_streamed_songs_is_the_same_bit_for_bit(
    finished, data_dir, tmp_path, k, monkeypatch
):
    """Also if it began on songs in memory."""
    workdir, returned = finished
    if k:
        run_interrupted(tiny_config(data_dir), tmp_path, monkeypatch, after=k)
    monkeypatch.setattr(datasets, "load_songs", None)  # Nothing is read into memory.
    assert train.run(tiny_config(data_dir, **{"data.reading": "stream"}), tmp_path) == returned
    for name in ("metrics.jsonl", "evaluation.json", "predictions_test.csv"):
        assert (tmp_path / name).read_bytes() == (workdir / name).read_bytes()
    ours, theirs = (everything_in_the_latest_checkpoint(path) for path in (workdir, tmp_path))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_resuming_in_the_middle_of_a_call_is_refused(finished, data_dir, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    steps = dict.fromkeys(("log_every_steps", "eval_every_steps", "checkpoint_every_steps"), 4)
    config = tiny_config(data_dir, **steps, num_train_steps=8, steps_per_call=4)
    with pytest.raises(ValueError, match="is at step 6, not a multiple of steps_per_call 4"):
        train.run(config, workdir)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_every_way_to_feed_the_devices_gives_the_crops_of_the_plan(on_device, steps_per_call):
    """A step that sums its inputs, on songs shorter and longer than a crop."""
    rng = np.random.default_rng(0)
    length = np.array([3, 9, 5, 20])
    n = int(length.sum())
    songs = Songs(
        song_ids=list("abcd"),
        first=np.cumsum([0, *length[:-1]]),
        length=length,
        log_mel_RxFxM=rng.normal(size=(n, 2, 3)).astype(np.float16),
        labels_RxV=rng.normal(size=(n, 2)).astype(np.float32),
        mask_RxV=rng.random((n, 2)) > 0.3,
        times_R=np.zeros(n, np.float32),
    )
    crops = Crops(
        songs, batch_size=8, crop_segments=6, seed=1, first_step=3, steps_per_call=steps_per_call,
        n_devices=4,
    )  # fmt: skip

    def step(state, batch):
        # Segments are weighted by their position, so that none can replace another.
        weights = {k: 1 + np.arange(x[0].size).reshape(x[0].shape) for k, x in batch.items()}
        sums = {k: jnp.sum(x.astype(jnp.float32) * weights[k]) for k, x in batch.items()}
        return state + 1, jax.lax.all_gather(sums, "batch")

    train_step, batches = loop.feed(step, crops, train_batches, on_device=on_device)
    state = parallel.replicate(jnp.zeros((), jnp.int32))
    for _ in range(3):
        state, sums = train_step(state, next(batches))
    assert int(state) == 3 * steps_per_call

    plan = CropPlan(length, batch_size=8, crop_segments=6, seed=1)
    song, start = (x[0].reshape(4, 2) for x in plan.crops(3 + 3 * steps_per_call - 1))
    for device in range(4):
        batch = {"log_mel": np.zeros((2, 6, 2, 3)), "mask": np.zeros((2, 6))}
        batch |= {"labels": np.zeros((2, 6, 2)), "label_mask": np.zeros((2, 6, 2))}
        for i in range(2):
            k = min(6, length[song[device, i]] - start[device, i])
            first = songs.first[song[device, i]] + start[device, i]
            batch["mask"][i, :k] = 1
            for name, array in songs.arrays().items():
                batch[name][i, :k] = array[first : first + k]
        for name, x in batch.items():
            want = np.sum(x * (1 + np.arange(x[0].size).reshape(x[0].shape)))
            assert float(sums[name][device]) == pytest.approx(want, rel=1e-5, abs=1e-4)


def test_songs_that_the_device_cannot_hold_are_refused(data_dir, monkeypatch, tmp_path):
    seen = []

    class SmallDevice:
        def memory_stats(self):
            return {"bytes_limit": 2**12}

    check = loop.check_fits
    monkeypatch.setattr(
        loop,
        "check_fits",
        lambda songs, device: seen.append(device) or check(songs, SmallDevice()),
    )
    with pytest.raises(ValueError, match=r"the training songs take .* GiB"):
        train.run(tiny_config(data_dir, **{"data.on_device": True}), tmp_path)
    assert seen == jax.local_devices()[:1]


@pytest.mark.parametrize("ema_decay", [0.9, 0.0])
def test_a_run_that_starts_from_another_begins_with_its_outputs(
    finished, data_dir, tmp_path, ema_decay, monkeypatch
):
    workdir, _ = finished
    changes = {"seed": 7, "init_from": str(workdir), "optim.ema_decay": ema_decay}
    config = tiny_config(data_dir, **changes)
    states = []

    def warm_start(state, variables):
        states.extend([state, start(state, variables)])
        raise StopError

    # Statistics of other songs than those that the parameters were trained with.
    other = {"mean": np.full(16, 5.0), "std": np.full(16, 99.0)}
    create, start = train_state.create, train_state.TrainState.warm_start
    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(train_state.TrainState, "warm_start", warm_start)
        patch.setattr(
            train_state, "create", lambda *a, **k: create(*a, **{**k, "input_stats": other})
        )
        train.run(config, tmp_path / "run")
    before, state = states
    assert int(state.step) == 0
    assert jax.tree.all(jax.tree.map(np.array_equal, before.opt_state, state.opt_state))
    assert not jax.tree.all(jax.tree.map(np.array_equal, before.params, state.params))
    variables, _ = checkpoint.load_variables(workdir)
    assert (state.averages is None) == (ema_decay == 0)
    for collection in ("params", "batch_stats"):
        for tree in filter(None, (vars(state), state.averages)):
            assert jax.tree.all(
                jax.tree.map(np.array_equal, tree[collection], variables[collection])
            )
    parallel.assert_replicated(state)

    data = datasets.open_configured(config)
    model = create_model(config.model, dtype=config.dtype, axis_name=steps.AXIS_NAME)
    eval_step = parallel.map_eval_step(functools.partial(steps.eval_step, model=model))
    apply = functools.partial(eval_step, state.eval_variables())
    predictions.write(tmp_path / "predictions.csv", *curves_of(config, apply, data.share("test")))
    saved = (workdir / "predictions_test.csv").read_bytes()
    assert (tmp_path / "predictions.csv").read_bytes() == saved


def test_a_run_that_started_from_another_resumes_without_it(
    finished, data_dir, tmp_path, monkeypatch, capsys
):
    first = shutil.copytree(finished[0], tmp_path / "first")
    config = tiny_config(data_dir, init_from=str(first))
    run_interrupted(config, tmp_path / "run", monkeypatch, after=4)
    assert re.search(rf"starting from step \d of {first}\n", capsys.readouterr().out)
    shutil.rmtree(first)
    assert train.run(config, tmp_path / "run") != finished[1]
    out = capsys.readouterr().out
    assert "resuming from step 3" in out and "starting from" not in out
    assert [step for step, *names in log_events(tmp_path / "run") if "train/loss" in names] == [
        *range(1, 7)
    ]
    # What it started from is part of its identity.
    scratch = tiny_config(data_dir)
    with pytest.raises(ValueError, match=rf"\(init_from: {first} in the checkpoint,  here\)"):
        train.run(scratch, tmp_path / "run")


def test_a_run_starts_from_weights_in_a_file_and_remembers_their_data(
    finished, data_dir, tmp_path, capsys
):
    variables, meta = checkpoint.load_variables(finished[0])
    assert meta["ancestors"] == []
    # Weights trained on another data set, after another version of this one.
    meta = {**meta, "ancestors": ["deam/release"]}
    meta["identity"] = {**meta["identity"], "dataset": "emopia/clips"}
    path = tmp_path / "start.safetensors"
    weights.save(path, variables, meta)
    config = tiny_config(data_dir, init_from=str(path), num_train_steps=3, select="latest")
    train.run(config, tmp_path / "run")
    assert f"starting from step {meta['step']} of {path}" in capsys.readouterr().out
    path.unlink()
    config.num_train_steps = 6
    train.run(config, tmp_path / "run")
    variables, meta = checkpoint.load_variables(tmp_path / "run")
    assert meta["step"] == 6
    assert meta["ancestors"] == ["deam/release", "emopia/clips"]

    # A model that starts from these weights must not count as one that has not seen its test songs.
    meta["ancestors"] = ["synthetic/other-version"]
    meta["identity"]["dataset"] = "emopia/clips"
    weights.save(path, variables, meta)
    config = tiny_config(data_dir, init_from=str(path))
    with pytest.raises(ValueError, match=r"another version of the data set .*other-version in the"):
        train.run(config, tmp_path / "other")


def test_starting_from_what_does_not_fit_is_refused(finished, data_dir, tmp_path):
    workdir, _ = finished
    _, meta = checkpoint.load_variables(workdir)
    model = {**meta["config"], "model": {**meta["config"]["model"], "hidden_size": 5}}
    identity = {**meta["identity"], "dataset": "synthetic/other-version"}
    advice = "use another --config.init_from"
    for change, message in (
        ({"config": model}, rf"model \(hidden_size: 4 in the checkpoint, 5 here\); {advice}"),
        ({"features": FeatureConfig(n_mels=17).to_json()}, r"(?s)n_mels=16.*n_mels=17"),
        ({"identity": identity}, rf"another version of the data set .*; {advice}"),
    ):
        with pytest.raises(ValueError, match=message):
            check_compatible(meta, {**meta, **change}, option="--config.init_from")
    # Before any data set is prepared.
    config = tiny_config(tmp_path / "no_data", init_from=str(tmp_path))
    with pytest.raises(ValueError, match=f"{tmp_path}: contains no checkpoint of a training run"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "no_data").exists()
    ridge = tiny_config(data_dir, "ridge", init_from=str(workdir))
    with pytest.raises(ValueError, match="init_from: ridge is solved in closed form"):
        train.run(ridge, tmp_path / "ridge")
    assert not (tmp_path / "ridge").exists()


@pytest.mark.parametrize(("model", "n_solutions"), [("constant", 1), ("ridge", 7)])
def test_models_that_are_solved_are_runs_like_all_others(data_dir, tmp_path, model, n_solutions):
    config = tiny_config(data_dir, model)
    returned = train.run(config, tmp_path)
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events] == list(range(1, n_solutions + 1))
    scores = [
        np.mean([event[f"validation/{v}/ccc"] for v in metrics.DIMENSIONS]) for event in events
    ]
    _, meta = checkpoint.load_variables(tmp_path)
    assert meta["step"] == 1 + np.argmax(scores)
    assert meta["score"] == pytest.approx(max(scores), abs=1e-9)
    for name in ("best", "latest"):
        folder = tmp_path / "checkpoints" / name
        assert [path.name for path in folder.iterdir()] == [str(meta["step"])]
    chosen = [returned["validation"][v]["pooled"]["ccc"] for v in metrics.DIMENSIONS]
    assert np.mean(chosen) == pytest.approx(max(scores), abs=1e-9)

    saved = (tmp_path / "predictions_test.csv").read_bytes()
    assert train.run(config, tmp_path) == returned
    assert train.run(config, tmp_path, mode="evaluate") == returned
    assert (tmp_path / "predictions_test.csv").read_bytes() == saved
    other = tiny_config(data_dir, "ridge", **{"model.penalty": 2.0})
    with pytest.raises(ValueError, match="another model"):
        train.run(other, tmp_path)

    (path,) = data_dir.glob("synthetic/songs-*/MEMD_audio/2001.flac")
    curve = predict.Predictor(tmp_path).from_file(path)
    with open(tmp_path / "predictions_test.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["song_id"] == "2001"]
    evaluated = [[float(row["valence"]), float(row["arousal"])] for row in rows]
    # Shards are float16, files are not.
    np.testing.assert_allclose(curve, evaluated, atol=5e-3)


def test_a_model_without_running_statistics_trains(data_dir, tmp_path):
    steps = dict.fromkeys(("eval_every_steps", "checkpoint_every_steps"), 1)
    config = tiny_config(data_dir, "frame_bilstm", num_train_steps=1, **steps)
    config.model.update(dense_size=4, hidden_size=4)
    train.run(config, tmp_path)
    train_event, validation_event = map(
        json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()
    )
    assert "train/loss" in train_event and "validation/valence/ccc" in validation_event


def test_a_model_is_solved_without_validation_songs(data_dir, tmp_path):
    changes = {"data.options.validation_fraction": 0.0, "data.eval_splits": ("test",)}
    train.run(tiny_config(data_dir, "ridge", **changes), tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    _, meta = checkpoint.load_variables(tmp_path)
    assert meta["step"] == 1


def test_evaluating_again_gives_the_same(finished, data_dir):
    workdir, returned = finished
    assert train.run(tiny_config(data_dir), workdir, mode="evaluate") == returned


def test_the_title_and_the_scores_show_which_seconds_of_the_songs_were_used(
    finished, data_dir, capsys
):
    workdir, _ = finished
    train.run(tiny_config(data_dir), workdir, mode="evaluate")
    out = capsys.readouterr().out
    scores = json.loads((workdir / "evaluation.json").read_text())
    for split, n_songs in (("validation", 1), ("test", 2)):
        assert scores[split]["seconds"] == [0.0, 6.0]
        assert f"synthetic, {split} songs, seconds 0 to 6: {n_songs} songs, " in out


def test_a_batch_size_per_device_is_that_of_as_many_in_all(finished, data_dir, tmp_path):
    """Four devices; a checkpoint is that of the batch in all."""
    config = tiny_config(data_dir, batch_size_per_device=1, batch_size=3)
    train.run(config, tmp_path)
    assert log_events(tmp_path) == log_events(finished[0])
    assert config.batch_size == 3
    stored = checkpoint.load_meta(tmp_path)
    assert (stored["identity"]["batch_size"], stored["config"]["batch_size"]) == (4, 4)


def test_evaluating_nothing_is_an_error(data_dir, tmp_path):
    with pytest.raises(ValueError, match="no checkpoint"):
        train.run(tiny_config(data_dir), tmp_path, mode="evaluate")


@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_a_second_run_in_the_same_workdir_is_refused(finished, data_dir, mode):
    workdir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    with workdir_lock(workdir), pytest.raises(OSError) as error:
        train.run(tiny_config(data_dir), workdir, mode=mode)
    assert str(error.value) == f"{workdir}: in use by another run (process {os.getpid()})"
    del before[workdir / ".lock"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_workdir_that_cannot_be_made_is_an_error_that_names_it(data_dir):
    """Not even root can."""
    with pytest.raises(OSError, match="'/proc/none'"):
        train.run(tiny_config(data_dir), Path("/proc/none"))


@pytest.mark.slow
def test_a_workdir_of_any_name_holds_a_whole_run(data_dir, tmp_path, monkeypatch):
    """All bytes that a name can have, also in the folder above."""
    odd = os.fsdecode(bytes(byte for byte in range(1, 256) if byte != ord("/")))
    workdir, copy = tmp_path / odd / odd, tmp_path / odd / "copy.safetensors"
    for mode in ("train", "evaluate"):
        parsed = train_flags.Arguments(tiny_config(data_dir, "ridge"), workdir, mode, None)
        monkeypatch.setattr(train_flags, "parse", lambda *_, parsed=parsed: parsed)
        assert train.main(["train.py"]) == 0
    assert read_metrics(workdir) and (workdir / "evaluation.json").exists()
    assert list(workdir.glob("events.out.tfevents*")) and (workdir / "learning.png").exists()
    assert weights.main([str(workdir), str(copy)]) == 0
    (path,) = data_dir.glob("synthetic/songs-*/MEMD_audio/2001.flac")
    curves = [predict.Predictor(place).from_file(path) for place in (workdir, copy)]
    np.testing.assert_array_equal(*curves)


def test_a_workdir_with_too_long_a_path_is_refused_before_the_training(data_dir, tmp_path):
    workdir = Path(tmp_path, *["x" * 200] * 20)
    with pytest.raises(ValueError, match=r"a path of 4\d+ bytes leaves no room"):
        train.run(tiny_config(data_dir), workdir)
    assert not list(tmp_path.iterdir())


def test_a_workdir_that_takes_no_checkpoint_is_refused_before_the_first_step(
    data_dir, tmp_path, monkeypatch
):
    def saved_without_its_content(checkpointer, path, args):
        path.mkdir()

    monkeypatch.setattr(checkpoint_files.ocp.Checkpointer, "save", saved_without_its_content)
    with pytest.raises(CheckpointError, match=r"checkpoints/latest: cannot be saved \("):
        train.run(tiny_config(data_dir), tmp_path / "run")
    assert read_metrics(tmp_path / "run") == []
    assert not list((tmp_path / "run/checkpoints").rglob("*/*"))


def test_a_workdir_is_free_when_the_process_that_held_it_is_dead(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from damff_jax.system.workdir_lock import workdir_lock\n"
        "with workdir_lock(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        process.stdout.readline()
        held = pytest.raises(WorkdirInUseError, match=rf"in use .*\(process {process.pid}\)$")
        with held, workdir_lock(tmp_path):
            pass
        process.kill()
    with workdir_lock(tmp_path):
        pass


def test_another_model_in_the_same_workdir_is_refused(finished, data_dir):
    workdir, _ = finished
    config = tiny_config(data_dir, **{"model.fusion": "sum"})
    with pytest.raises(ValueError, match="fusion: daff in the checkpoint, sum here"):
        train.run(config, workdir)


def test_predicting_a_file_equals_evaluating_it(finished, data_dir):
    workdir, _ = finished
    predictor = predict.Predictor(workdir)
    (path,) = data_dir.glob("synthetic/songs-*/MEMD_audio/2001.flac")
    curve = predictor.from_file(path)
    with open(workdir / "predictions_test.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["song_id"] == "2001"]
    evaluated = [[float(row["valence"]), float(row["arousal"])] for row in rows]
    # Shards are float16, files are not.
    np.testing.assert_allclose(curve, evaluated, atol=2e-3)


def test_the_steps_of_the_ladder_agree(finished, data_dir):
    from damff_jax import audio, features

    workdir, _ = finished
    predictor = predict.Predictor(workdir, batch_size=1)
    (path,) = data_dir.glob("synthetic/songs-*/MEMD_audio/2002.flac")
    samples = audio.load(path, 8000)
    from_file = predictor.from_file(path)
    np.testing.assert_allclose(predictor.from_waveform(samples, 8000), from_file, atol=1e-5)
    log_mel = features.log_mel(samples, predictor.features)
    segments = features.segments(log_mel, predictor.features)
    np.testing.assert_allclose(predictor.from_log_mel(segments), from_file, atol=1e-5)
    many = list(predict.Predictor(workdir, batch_size=16).from_files([path, path]))
    np.testing.assert_allclose(many, [from_file, from_file], atol=1e-5)


def test_the_command_predicts_good_files_and_names_bad_ones(finished, data_dir, tmp_path, capsys):
    workdir, _ = finished
    (good,) = data_dir.glob("synthetic/songs-*/MEMD_audio/2001.flac")
    bad = tmp_path / "bad.mp3"
    bad.write_text("no music")
    argv = [str(good), str(bad), f"--checkpoint={workdir}", f"--output_dir={tmp_path}"]
    assert predict.main([*argv, "--plot", "--html", "--json"]) == 1
    lines = (tmp_path / "2001.csv").read_text().splitlines()
    assert lines[0] == "time_s,valence,arousal"
    assert [line.split(",")[0] for line in lines[1:]] == [f"{0.5 * i:.1f}" for i in range(12)]
    assert json.loads((tmp_path / "2001.json").read_text())["hop_s"] == 0.5
    assert (tmp_path / "2001.png").stat().st_size > 1000
    assert "<canvas" in (tmp_path / "2001.html").read_text()
    assert not (tmp_path / "bad.csv").exists()
    error = capsys.readouterr().err
    assert f"{bad}: not readable as audio" in error
    assert f"1 of 2 files done, 1 failed; curves are in {tmp_path}\n" in error
    assert predict.main([str(good), *argv[2:]]) == 0


def test_the_command_refuses_invalid_arguments(finished, tmp_path):
    workdir, _ = finished
    song = str(tmp_path / "a.wav")
    for argv in (
        [str(tmp_path), f"--checkpoint={workdir}"],
        [song, f"--checkpoint={workdir}"],
        [__file__, "--batch_size=0"],
        [__file__, f"--checkpoint={tmp_path}"],
    ):
        with pytest.raises(SystemExit) as stop:
            predict.main(argv)
        assert stop.value.code == 2


def test_damaged_checkpoints_are_reported_in_a_line(finished, data_dir, tmp_path, capsys):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "checkpoints/latest/6/meta/metadata").unlink()
    (path,) = data_dir.glob("synthetic/songs-*/MEMD_audio/2001.flac")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        argv = [str(path), f"--checkpoint={workdir}", f"--output_dir={tmp_path}"]
        assert predict.main(argv) == 0
        line = "warning: .*: the latest checkpoint of step 6 is damaged .*; falling back to .* 3\n"
        assert re.search(f"^predict: {line}", capsys.readouterr().err)
        command_line.show_warnings("train.py", checkpoint.CheckpointWarning)
        warnings.simplefilter("default")  # Forgets the warnings that were shown.
        checkpoint.load_meta(workdir)
        # The same warning is not shown again.
        checkpoint.load_meta(workdir)
        assert re.fullmatch(f"train.py: {line}", capsys.readouterr().err)


def test_a_file_shorter_than_a_segment_is_an_error(finished, tmp_path):
    import soundfile

    workdir, _ = finished
    soundfile.write(tmp_path / "short.wav", np.zeros(3000), 16_000)
    with pytest.raises(AudioError, match="shorter than one segment"):
        predict.Predictor(workdir).from_file(tmp_path / "short.wav")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6}, "batch_size 6 is not a positive multiple of the 4 devices"),
        ({"num_train_steps": 0}, "num_train_steps must be positive"),
        ({"data.dataset": "nope"}, "unknown data set 'nope'"),
        ({"model.fusion": "nope"}, "model.fusion: 'nope'"),
        ({"dtype": "float64"}, "dtype: 'float64'"),
        ({"features.n_mels": 0}, "n_mels"),
        ({"loss.ccc_pooled": 0.0}, "loss weights"),
        ({"data.overlap": 8}, "overlap 8"),
        ({"data.eval_splits": ("tset",)}, "data.eval_splits: 'tset'"),
        ({"data.manual_dir": "/nowhere"}, "data.manual_dir: /nowhere is not a directory"),
        ({"max_skipped_steps": -1}, "max_skipped_steps must not be negative"),
        ({"seed": -1}, "seed must not be negative"),
        ({"steps_per_call": 2}, "log_every_steps 1 is not a multiple of steps_per_call 2"),
        ({"model.reduction": 0}, "model.reduction: 0"),
        ({"model.channels": (8, 16)}, "model.channels"),
        ({"features.n_mels": 4}, "8 Mel bins"),
        ({"calibrate": True}, "calibrate applies to the last step, so it needs select=latest"),
        ({"augment.mixup": -1.0}, "augment.mixup: -1.0"),
        ({"loss.teacher": 1.0}, "data.teacher, loss.teacher, model.teacher_size must be set"),
        ({"data.heard": "x.npz"}, "data.heard, a file of embeddings, and model embedding_bigru"),
        ({"data.margin": -1}, "margin -1 is negative"),
        ({"data.reading": "disk"}, "data.reading: 'disk'; available: auto, memory, stream"),
        ({"data.reading": "stream", "data.on_device": True}, "does not go with data.on_device"),
    ],
)
def test_invalid_configs_are_refused(data_dir, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train.run(tiny_config(data_dir, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def spoil(monkeypatch, song_id, segments):
    """Makes the labels of a song's segments infinite in training."""
    load = Dataset.load

    def spoiled(data, split, song_ids=None):
        songs = load(data, split, song_ids)
        if split == "train":
            first = songs.first[songs.song_ids.index(song_id)]
            songs.labels_RxV[first + np.asarray(segments)] = np.inf
        return songs

    monkeypatch.setattr(Dataset, "load", spoiled)


def steps_with(data_dir, config, song_id):
    """The steps, from 1, whose batches have crops of a given song."""
    songs = datasets.open_configured(config).load("train")
    batch_size, crop_segments = config.batch_size, config.data.crop_segments
    plan = CropPlan(
        songs.length, batch_size=batch_size, crop_segments=crop_segments, seed=config.seed
    )
    number = songs.song_ids.index(song_id)
    song, _ = plan.crops(0, config.num_train_steps)
    return [step for step, row in enumerate(song, start=1) if number in row]


def a_training_song(data_dir, config):
    return datasets.open_configured(config).load("train").song_ids[0]


def test_a_step_without_a_finite_gradient_is_skipped_counted_and_shown(
    data_dir, tmp_path, monkeypatch, capsys
):
    config = tiny_config(data_dir)
    song_id = a_training_song(data_dir, config)
    bad = steps_with(data_dir, config, song_id)
    assert 1 < len(bad) < 6
    spoil(monkeypatch, song_id, range(12))
    train.run(config, tmp_path)
    events = {key[0]: e for key, e in log_events(tmp_path).items() if "train/skipped" in key}
    assert [step for step, e in events.items() if "train/loss" not in e] == bad
    assert [e["train/skipped"] for e in events.values()] == [
        sum(b <= step for b in bad) for step in range(1, 7)
    ]
    assert f"{len(bad)} steps skipped" in capsys.readouterr().out
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    "changes",
    [{}, pytest.param({"steps_per_call": 3, "log_every_steps": 3}, marks=pytest.mark.slow)],
    ids=str,
)
def test_too_many_skipped_steps_stop_the_run_and_the_state_before_is_saved(
    data_dir, tmp_path, monkeypatch, changes
):
    config = tiny_config(data_dir, max_skipped_steps=0, **changes)
    song_id = a_training_song(data_dir, config)
    bad = steps_with(data_dir, config, song_id)[0]
    spoil(monkeypatch, song_id, range(12))
    shown = rf"not finite from step {bad} on, .* of that step: (.*, )?{song_id}(,|$)"
    for _ in range(2):
        with pytest.raises(NotFiniteError, match=shown):
            train.run(config, tmp_path)
        if not changes:
            assert checkpoint.load_meta(tmp_path)["step"] == bad - 1
    assert "Infinity" not in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_a_run_that_diverges_stops_and_names_the_step(data_dir, tmp_path):
    changes = {"optim.learning_rate": 1e30, "optim.clip_norm": 0.0, "model.dropout_rate": 0.0}
    with pytest.raises(ValueError, match=r"loss or gradient not finite from step \d on"):
        train.run(tiny_config(data_dir, max_skipped_steps=1, **changes), tmp_path)
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def folder_config(data_dir, manual_dir, **options):
    config = tiny_config(data_dir, "frame_bilstm")
    config.num_train_steps = 1
    config.data.dataset = "folder"
    config.data.manual_dir = str(manual_dir)
    with config.data.unlocked():
        config.data.options = {"split_seed": 0, **options}
    return config


@pytest.fixture
def manual_dir(tmp_path):
    dummy = ROOT / "input_pipeline" / "folder" / "dummy_data"
    return Path(shutil.copytree(dummy, tmp_path / "mine"))


def test_files_that_changed_are_read_again(manual_dir, tmp_path):
    config = folder_config(tmp_path / "data", manual_dir)
    before = datasets.open_configured(config)
    valence = manual_dir / "valence.csv"
    first, *rows = valence.read_text().splitlines()
    valence.write_text("\n".join([first, *rows[:-1]]) + "\n")
    after = datasets.open_configured(config)
    assert before.digests()["files"] != after.digests()["files"]
    assert sum(n_songs for n_songs, _ in before.counts().values()) == 4
    assert sum(n_songs for n_songs, _ in after.counts().values()) == 3


@pytest.mark.slow
def test_one_song_is_a_data_set(manual_dir, tmp_path, capfd):
    for name in ("valence.csv", "arousal.csv"):
        header, row, *_ = (manual_dir / name).read_text().splitlines()
        (manual_dir / name).write_text(f"{header}\n{row}\n")
    config = folder_config(tmp_path / "data", manual_dir)
    with pytest.raises(ValueError, match="the data set folder could not be prepared"):
        train.run(config, tmp_path / "run")
    assert "none of the splits validation, test, which" in capfd.readouterr().err
    config.data.eval_splits = ("train",)
    train.run(config, tmp_path / "run")
    assert len((tmp_path / "run/predictions_train.csv").read_text().splitlines()) == 1 + 8


def test_other_splits_in_the_same_workdir_are_refused(manual_dir, tmp_path):
    workdir = tmp_path / "run"
    train.run(folder_config(tmp_path / "data", manual_dir), workdir)
    other = folder_config(tmp_path / "data", manual_dir, split_seed=1)
    for mode in ("train", "evaluate"):
        with pytest.raises(ValueError, match="version of the data set"):
            train.run(other, workdir, mode=mode)


@pytest.mark.parametrize("n_rows", [2, 3])
def test_a_split_file_that_changed_is_another_split_of_the_same_workdir(
    manual_dir, tmp_path, n_rows
):
    rows = ["song 0,train\n", "song 1,validation\n", "song 2,test\n", "song 3,train\n"]
    (manual_dir / "splits.csv").write_text("".join(rows))
    config = folder_config(tmp_path / "data", manual_dir, split_file="splits.csv")
    train.run(config, tmp_path / "run")
    (manual_dir / "splits.csv").write_text("".join(reversed(rows)))
    train.run(config, tmp_path / "run", mode="evaluate")
    (manual_dir / "splits.csv").write_text("".join(rows[:n_rows]))
    if n_rows == 3:
        config.data.eval_splits = ("test",)
    with pytest.raises(ValueError, match="version of the data set"):
        train.run(config, tmp_path / "run", mode="evaluate" if n_rows == 3 else "train")


def test_another_split_of_the_songs_is_not_prepared(manual_dir, tmp_path, monkeypatch):
    first = datasets.open_configured(folder_config(tmp_path / "data", manual_dir))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*") if p.is_file()}
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("prepared again"))
    (manual_dir / "splits.csv").write_text("song 0,train\nsong 2,test\n")
    identities = {first.identity}
    for options, counts in (
        ({"split_seed": 1}, {"train": 2, "validation": 1, "test": 1}),
        ({"validation_fraction": 0.0}, {"train": 3, "test": 1}),
        ({"validation_fraction": 0.5, "test_fraction": 0.0}, {"train": 2, "validation": 2}),
        ({"split_file": "splits.csv"}, {"train": 1, "test": 1}),
    ):
        other = datasets.open_configured(folder_config(tmp_path / "data", manual_dir, **options))
        assert {split: n_songs for split, (n_songs, _) in other.counts().items()} == counts
        assert other.builder.data_dir == first.builder.data_dir
        identities.add(other.identity)
    assert len(identities) == 5
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_mel_statistics_are_those_of_the_splits_own_training_songs(manual_dir, tmp_path):
    kept = []
    for seed in (0, 1):
        config = folder_config(tmp_path / "data", manual_dir, split_seed=seed)
        train.run(config, tmp_path / str(seed))
        stats = checkpoint.load_variables(tmp_path / str(seed))[0]["input_stats"]
        songs = datasets.open_configured(config).load("train")
        frames = np.concatenate([song.log_mel_TxFxM for song in songs]).reshape(-1, 16)
        frames = frames.astype(np.float64)
        np.testing.assert_allclose(stats["mean"], frames.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(stats["std"], frames.std(axis=0), rtol=1e-5)
        kept.append((songs.song_ids, stats["mean"]))
    (first, mean), (second, other_mean) = kept
    assert first != second and not np.allclose(mean, other_mean, rtol=1e-3)


def test_training_on_a_split_without_training_songs_is_refused(manual_dir, tmp_path):
    (manual_dir / "splits.csv").write_text("song 0,test\nsong 1,test\n")
    config = folder_config(tmp_path / "data", manual_dir, split_file="splits.csv")
    with pytest.raises(ValueError, match=r"no split train; available: test$"):
        train.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"audio_start": -1.0}, "audio_start: -1.0 is not a time in seconds, 0 or later"),
        ({"audio_start": "nan"}, "audio_start: nan is not a time in seconds, 0 or later"),
        ({"audio_start": "1e999"}, "audio_start: inf is not a time in seconds, 0 or later"),
        ({"split_file": "none.csv"}, "none.csv: No such file or directory"),
    ],
)
def test_settings_that_do_not_fit_the_songs_are_one_line(
    manual_dir, tmp_path, options, message, capfd, monkeypatch
):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # Which the program sets.
    argv = ["train.py", "--config=folder", f"--config.data.data_dir={tmp_path}/data"]
    argv += [f"--workdir={tmp_path}/run", f"--config.data.manual_dir={manual_dir}"]
    argv += [f"--config.data.options.{name}={value}" for name, value in options.items()]
    assert train.main(argv) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("prepare: error: ") and line.endswith(message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [np.zeros(99), np.zeros((9, 2)), np.zeros(9999, np.int64)])
def test_invalid_samples_are_refused(finished, value):
    with pytest.raises(AudioError, match="samples"):
        predict.Predictor(finished[0]).from_waveform(value, 16_000)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.modle.fusion=sum", "modle"),
        ("--config.batch_size=many", "batch_size"),
        ("--config=nowhere.py", "nowhere.py"),
        (
            f"--config={ROOT}/configs/synthetic.py:nope",
            "unknown model 'nope'; available: damff, damff_plus, constant",
        ),
        ("--workdri=x", "workdri"),
        ("--num_processes=2", "--multihost"),
    ],
)
def test_a_wrong_command_line_prints_one_line_and_status_2(argument, message, tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / "train.py", argument],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("train.py: error:")
    assert message in line
    assert not any(tmp_path.iterdir())


# Embeddings, a teacher, and other options of training ---------------------------------------------


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """Random embeddings with 5 dimensions, for two patches of each of the tiny songs."""
    path = tmp_path_factory.mktemp("embeddings") / "x.npz"
    rng = np.random.default_rng(0)
    ids = [1, 2, 3, 4, 2001, 2002]
    values = rng.normal(size=(len(ids), 2, 5)).astype(np.float16)
    np.savez(path, song_id=ids, embedding=values, patch_start_s=[0.0, 3.0])
    return path


def test_a_teacher_is_learnt_from_and_not_needed_to_predict(data_dir, embeddings, tmp_path, capsys):
    taught = {"data.teacher": str(embeddings), "loss.teacher": 2.0, "model.teacher_size": 5}
    more = {"select": "latest", "calibrate": True, "augment.mixup": 0.4, "augment.gain_db": 2.0}
    config = tiny_config(data_dir, **taught, **more)
    workdir = tmp_path / "run"
    scores = train.run(config, workdir)
    assert "calibrated: valence and arousal scaled by " in capsys.readouterr().out
    assert np.isfinite(scores["test"]["arousal"]["pooled"]["ccc"])
    losses = [event["train/loss"] for event in read_metrics(workdir) if "train/loss" in event]
    assert len(losses) == 6 and max(losses) > 2  # More than 1 − CCC alone can be.
    again = train.run(config, workdir, mode="evaluate")
    assert again == scores
    curve_TxV = predict.Predictor(workdir).from_waveform(
        np.random.default_rng(0).normal(0, 0.1, 8000 * 6), 8000
    )
    assert curve_TxV.shape == (12, 2) and np.isfinite(curve_TxV).all()


def test_another_teacher_makes_another_run(data_dir, embeddings, tmp_path):
    taught = {"data.teacher": str(embeddings), "loss.teacher": 2.0, "model.teacher_size": 5}
    config = tiny_config(data_dir, **taught, num_train_steps=3)
    train.run(config, tmp_path / "run")
    with np.load(embeddings) as arrays:
        values = {name: arrays[name] for name in arrays}
    np.savez(tmp_path / "y.npz", **{**values, "embedding": values["embedding"] + 1})
    config.data.teacher = str(tmp_path / "y.npz")
    with pytest.raises(CheckpointError, match=r"another run .*teacher: "):
        train.run(config, tmp_path / "run")
    config.model.teacher_size = 7
    with pytest.raises(ValueError, match=r"model\.teacher_size: 7, but .* have 5 dim"):
        train.run(config, tmp_path / "other")


def test_a_model_can_take_embeddings_instead_of_the_sound(data_dir, embeddings, tmp_path):
    config = tiny_config(data_dir, "embedding_bigru", **{"data.heard": str(embeddings)})
    scores = train.run(config, tmp_path / "run")
    assert scores["test"]["n_points"] == 24
    assert not (tmp_path / "run" / "familiarity.safetensors").exists()
    with pytest.raises(CheckpointError, match="embeddings, not audio"):
        predict.Predictor(tmp_path / "run")


def test_a_calibrated_run_has_the_labels_spread_on_its_training_songs(data_dir, tmp_path):
    changes = {"select": "latest", "calibrate": True, "data.eval_splits": ("train",)}
    train.run(tiny_config(data_dir, **changes), tmp_path / "run")
    curves, _ = predictions.read(tmp_path / "run" / "predictions_train.csv")
    for v in range(2):
        prediction, truth = (
            np.concatenate([curve[i][:, v] for curve in curves.values()]) for i in range(2)
        )
        # Except for clipping at the ends of the scale.
        assert prediction.mean() == pytest.approx(truth.mean(), abs=0.05)
        assert prediction.std() == pytest.approx(truth.std(), rel=0.15)


def test_crops_longer_than_all_songs_cost_no_padding(data_dir, tmp_path, monkeypatch):
    seen = []
    crops = Crops
    monkeypatch.setattr(
        loop, "Crops", lambda *a, **k: seen.append(k["crop_segments"]) or crops(*a, **k)
    )
    changes = {"num_train_steps": 3, "data.crop_segments": 500, "data.window_segments": 500}
    scores = train.run(tiny_config(data_dir, **changes), tmp_path / "run")
    assert set(seen) == {12} and scores["test"]["n_points"] == 24
