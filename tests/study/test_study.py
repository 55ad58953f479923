"""Studies of fake systems: programs that write predictions instead of training."""

import dataclasses
import fcntl
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.evaluation import metrics, predictions
from damff_jax.evaluation.metrics import Curve
from damff_jax.evaluation.predictions import PredictionsError
from damff_jax.report.pages import study_page
from damff_jax.study import StudyError, __main__, averaged, results, runs, scores, table
from damff_jax.study.planning import plan
from damff_jax.study.runs import PREDICTIONS
from damff_jax.study.scheduler import run_all

ROOT = Path(__file__).parents[2]

# Planning ----------------------------------------------------------------------------------------


def study_of(systems, **changes):
    return {
        "folds": (0, 1),
        "seeds": (0, 1),
        "reference": next(iter(systems)),
        "group": r"(.*)_\d+",
        "systems": systems,
        **changes,
    }


SYSTEMS = {
    "a": {"command": ["train.py", "--fold={fold}", "--seed={seed}", "--workdir={workdir}"]},
    "b": {"command": ["-m", "b", "--from={init_from}", "{{data_dir}}"], "init_from": "pre"},
    "c": {"command": ["train.py", "--from={init_from}"], "init_from": "a"},
    "pre": {"command": ["train.py", "--seed={seed}"], "pretraining": True},
}


def planned(tmp_path, systems, folds=(0, 1), seeds=(0, 1), study=SYSTEMS, **kwargs):
    return plan(study_of(study), tmp_path, systems=systems, folds=folds, seeds=seeds, **kwargs)


def test_runs_are_planned_a_whole_seed_first(tmp_path):
    runs = planned(tmp_path, ["a"], folds=(0, 2), seeds=(1, 5), extra=["--more"])
    assert [str(run) for run in runs] == [
        "a/fold0_seed1",
        "a/fold2_seed1",
        "a/fold0_seed5",
        "a/fold2_seed5",
    ]
    assert runs[1].recipe == ("train.py", "--fold=2", "--seed=1", "--workdir={workdir}", "--more")
    assert runs[1].workdir == tmp_path / "a" / "fold2_seed1"
    assert runs[1].command() == [
        sys.executable,
        *("-m", "damff_jax.train"),
        "--fold=2",
        "--seed=1",
        f"--workdir={runs[1].workdir}",
        "--more",
    ]


def test_folds_share_the_pretraining_of_their_seed(tmp_path):
    runs = planned(tmp_path, ["b"], data_dir="/data", extra=["--more"])
    assert [str(run) for run in runs] == [
        "pre/seed0",
        "b/fold0_seed0",
        "b/fold1_seed0",
        "pre/seed1",
        "b/fold0_seed1",
        "b/fold1_seed1",
    ]
    assert runs[4].after == (runs[3],)
    assert runs[4].command() == [sys.executable, "-m", "b", f"--from={runs[3].workdir}", "{/data}"]
    assert runs[3].recipe == ("train.py", "--seed=1", "--more")
    assert [run.predicts for run in runs[:2]] == [False, True]


def test_a_system_that_is_not_pretraining_is_a_start_per_fold(tmp_path):
    runs = planned(tmp_path, ["c", "a"], seeds=(0,))
    assert [str(run) for run in runs] == [
        "a/fold0_seed0",
        "c/fold0_seed0",
        "a/fold1_seed0",
        "c/fold1_seed0",
    ]
    assert runs[3].after == (runs[2],)


def test_the_recipe_does_not_depend_on_places(tmp_path):
    ours = planned(tmp_path / "x", ["b"], manual_dir="/x", data_dir="/x")
    theirs = planned(tmp_path / "y", ["b"], manual_dir="/y", data_dir="/y")
    assert [run.recipe for run in ours] == [run.recipe for run in theirs]


def test_systems_that_cannot_be_planned_are_refused(tmp_path):
    with pytest.raises(StudyError, match="unknown system 'd'; available: a, b, c, pre"):
        planned(tmp_path, ["a", "d"])
    lost = {"x": {"command": ["x"], "init_from": "y"}}
    with pytest.raises(StudyError, match="unknown system 'y'"):
        planned(tmp_path, ["x"], study=lost)
    circle = {"x": {"command": ["x"], "init_from": "y"}, "y": {"command": ["y"], "init_from": "x"}}
    with pytest.raises(StudyError, match="start from each other: x, y"):
        planned(tmp_path, ["x"], study=circle)
    # Trained on one fold, it would have seen other folds' test songs.
    of_a_fold = {"x": {"command": ["train.py", "--fold={fold}"], "pretraining": True}}
    with pytest.raises(StudyError, match=r"pretraining 'x' is shared by all folds"):
        planned(tmp_path, ["x"], study=of_a_fold)


# Running -----------------------------------------------------------------------------------------

# A system that records how often it ran, and predicts two songs of its fold with some error; it
# needs the files that it is given.
WRITE = textwrap.dedent(
    """
    import pathlib, sys
    workdir, fold, offset = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    with open(workdir / "starts", "a") as file:
        file.write("x")
    for needed in sys.argv[4:]:
        open(needed).close()
    if (workdir / "broken").exists():
        sys.exit("out of luck")
    with open(workdir / "predictions_test.csv", "w") as file:
        print("song_id,time_s,valence,arousal,valence_true,arousal_true", file=file)
        for song in range(2):
            for t in range(4):
                truth = (fold + song + t) % 3 / 4
                x = f"{truth + offset * t},{offset - truth},{truth},{-truth}"
                print(f"game{fold}{song}_{song},{t / 2},{x}", file=file)
    """
)


def fake(offset=0.0, *needed, **more):
    command = ["-c", WRITE, "{workdir}", "{fold}", f"{{seed}}{offset}", *needed]
    return {"command": command, **more}


PRETRAIN = "import time; time.sleep(0.1); open(r'{workdir}/started', 'a').write('x')"
FAKES = {
    "good": fake(0.1),
    "late": fake(0.2, "{init_from}/started", init_from="pre"),
    "pre": {"command": ["-c", PRETRAIN], "pretraining": True},
}


def fakes(tmp_path, systems, folds=(0,), seeds=(0,), study=FAKES):
    return planned(tmp_path, systems, folds, seeds, study=study)


def outcome(runs, **kwargs):
    return {str(run): reason for run, reason in run_all(runs, **kwargs)}


def starts(run):
    return len((run.workdir / "starts").read_text())


@pytest.mark.parametrize("jobs", [1, 2])
def test_runs_run_once_and_after_those_they_start_from(tmp_path, jobs):
    runs = fakes(tmp_path, ["late"], folds=(0, 1))
    pre, *late = runs
    assert not any(run.is_done() for run in runs)
    assert outcome(runs, jobs=jobs) == {str(run): "" for run in runs}
    assert all(run.is_done() for run in runs)
    finished = [(run.workdir / "study.json").stat().st_mtime_ns for run in runs]
    assert finished[0] == min(finished)
    assert late[0].record()["recipe"] == list(late[0].recipe)
    assert 0 <= late[0].record()["seconds"] < 300
    assert outcome(runs, jobs=jobs) == {str(run): "" for run in runs}
    assert [starts(run) for run in late] == [1, 1]
    assert (pre.workdir / "started").read_text() == "x"


def test_a_run_that_failed_is_named_and_resumes_in_its_workdir(tmp_path):
    runs = fakes(tmp_path, ["good"], folds=(0, 1))
    runs[0].workdir.mkdir(parents=True)
    (runs[0].workdir / "broken").touch()
    log = runs[0].workdir / "log.txt"
    assert outcome(runs) == {
        "good/fold0_seed0": f"exit status 1: out of luck (see {log})",
        "good/fold1_seed0": "",
    }
    assert not runs[0].is_done()
    (runs[0].workdir / "broken").unlink()
    assert outcome(runs) == {"good/fold0_seed0": "", "good/fold1_seed0": ""}
    assert [starts(run) for run in runs] == [2, 1]
    assert log.read_text() == "out of luck\n"


def test_a_run_that_starts_from_a_failed_one_does_not_run(tmp_path):
    systems = {**FAKES, "pre": {"command": ["-c", "raise SystemExit(3)"], "pretraining": True}}
    systems["later"] = fake(init_from="late")
    runs = fakes(tmp_path, ["later", "good"], study=systems)
    log = tmp_path / "pre" / "seed0" / "log.txt"
    assert outcome(runs, jobs=2) == {
        "pre/seed0": f"exit status 3: no output (see {log})",
        "late/fold0_seed0": "pre/seed0 failed",
        "later/fold0_seed0": "late/fold0_seed0 failed",
        "good/fold0_seed0": "",
    }
    assert not (tmp_path / "late").exists()


def test_a_run_that_leaves_no_predictions_has_failed(tmp_path):
    runs = fakes(tmp_path, ["x"], study={"x": {"command": ["-c", ""]}})
    assert outcome(runs) == {
        "x/fold0_seed0": f"exit status 0, but no {PREDICTIONS} (see {runs[0].workdir / 'log.txt'})"
    }
    assert not runs[0].is_done()


def done(run, recipe=None, seconds=60.0):
    """Completes a run without executing it."""
    run.workdir.mkdir(parents=True, exist_ok=True)
    record = {"recipe": list(run.recipe if recipe is None else recipe), "seconds": seconds}
    (run.workdir / "study.json").write_text(json.dumps(record))


def test_a_changed_recipe_is_refused_before_anything_runs(tmp_path):
    runs = fakes(tmp_path, ["good"], folds=(0, 1))
    done(runs[1], [*runs[1].recipe[:-1], "00.3"])
    with pytest.raises(StudyError, match=r"fold1_seed0 was made by another recipe \(00.1, 00.3\)"):
        outcome(runs)
    assert not runs[0].workdir.exists()
    done(runs[1], runs[1].recipe[::-1])
    with pytest.raises(StudyError, match=r"another recipe \(in another order\)"):
        outcome(runs)
    # What the other recipe left is deleted.
    (runs[1].workdir / "broken").touch()
    assert outcome(runs, again=True) == {str(run): "" for run in runs}
    assert [starts(run) for run in runs] == [1, 1]
    assert runs[1].is_done()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"recipe": 1, "seconds": 1}', "\xff"])
def test_an_invalid_record_is_refused(tmp_path, content):
    (run,) = fakes(tmp_path, ["good"])
    run.workdir.mkdir(parents=True)
    (run.workdir / "study.json").write_bytes(content.encode("latin1"))
    with pytest.raises(StudyError, match=r"study\.json: not the record of a run"):
        run.is_done()


def test_a_run_that_would_wait_forever_is_refused(tmp_path):
    runs = fakes(tmp_path, ["late"])
    with pytest.raises(StudyError, match="late/fold0_seed0 starts from pre/seed0"):
        outcome(runs[1:])


def test_a_run_that_started_from_one_repeated_since_is_not_done(tmp_path):
    runs = fakes(tmp_path, ["late"])
    assert outcome(runs) == {"pre/seed0": "", "late/fold0_seed0": ""}
    assert outcome(runs[:1], again=True) == {"pre/seed0": ""}
    with pytest.raises(StudyError, match=r"late/fold0_seed0 was made before pre/seed0, which it"):
        outcome(runs)
    assert outcome(runs, again=True) == {"pre/seed0": "", "late/fold0_seed0": ""}
    assert outcome(runs) == {"pre/seed0": "", "late/fold0_seed0": ""}


def test_a_run_whose_predictions_are_gone_is_run_again(tmp_path):
    runs = fakes(tmp_path, ["good"])
    assert outcome(runs) == {"good/fold0_seed0": ""}
    (runs[0].workdir / PREDICTIONS).unlink()
    assert outcome(runs) == {"good/fold0_seed0": ""}
    assert starts(runs[0]) == 2


def test_a_run_that_cannot_be_started_does_not_end_the_others(tmp_path):
    runs = fakes(tmp_path, ["good"], folds=(0, 1))
    (runs[0].workdir / "log.txt").mkdir(parents=True)
    reasons = outcome(runs)
    assert "Is a directory" in reasons["good/fold0_seed0"] and reasons["good/fold1_seed0"] == ""


CONFIG = """
from ml_collections import ConfigDict


def get_config(model):
    return ConfigDict({"model": {"name": model, "size": SIZE}, "steps": 5, "data": {"place": ""}})
"""


def test_settings_that_changed_in_a_config_file_are_another_recipe(tmp_path):
    """Also for an interrupted run; places and settings added later do not count."""
    config = tmp_path / "config.py"
    config.write_text(CONFIG.replace("SIZE", "3"))
    command = ["train.py", f"--config={config}:a", "--workdir={workdir}", "--config.steps=7"]
    command += ["--config.data.place={manual_dir}/a"]
    (run,) = fakes(tmp_path, ["x"], study={"x": {"command": command}})
    assert runs.settings(run.recipe) == {"model.name": "a", "model.size": 3, "steps": 7}

    done(run)
    (run.workdir / PREDICTIONS).touch()
    then = {"model": {"name": "a", "size": 3}, "steps": 7, "data": {"place": "there"}}
    (run.workdir / "config.json").write_text(json.dumps(then))
    assert run.is_done()
    config.write_text(CONFIG.replace("SIZE", "3, 'new': 0"))
    assert run.is_done()
    config.write_text(CONFIG.replace("SIZE", "4"))
    changed = r"made by another recipe \(model\.size=3, now 4\)"
    with pytest.raises(StudyError, match=changed):
        run.is_done()
    (run.workdir / "study.json").unlink()
    with pytest.raises(StudyError, match=changed):
        outcome([run])
    (run.workdir / "config.json").write_text("{")
    with pytest.raises(StudyError, match=r"config\.json: not the config of a run"):
        run.is_done()
    with pytest.raises(StudyError, match="not a config"):
        runs.settings(["train.py", f"--config={config}.gone"])


# Scores ------------------------------------------------------------------------------------------


def made_up(seed, n_songs=6, *, noise=0.3, prediction=None):
    """Curves of songs a_0, b_1, c_2, a_3, ... of different lengths, some labels missing."""
    rng = np.random.default_rng(seed)
    truths = np.random.default_rng(99)
    curves = {}
    for k in range(n_songs):
        n = 5 + 3 * k
        truth = truths.uniform(-1, 1, (n, 2))
        mask = truths.random((n, 2)) > 0.2
        x = truth + noise * rng.normal(size=(n, 2)) if prediction is None else prediction
        x = np.broadcast_to(x, truth.shape).astype(np.float32)
        curves[f"{'abc'[k % 3]}_{k}"] = Curve(x, truth.astype(np.float32), mask)
    return curves


GROUPS = {song: song[0] for song in made_up(0)}


def test_predictions_come_back_as_they_were_written(tmp_path):
    written = made_up(3)
    path = tmp_path / PREDICTIONS
    written['a, "b"'] = written.pop("a_0")
    times = {song: 0.5 * np.arange(len(curve.truth_TxV)) for song, curve in written.items()}
    predictions.write(path, written, times)
    read, times_read = predictions.read(path)
    assert list(read) == list(times_read) == list(written)
    for song, curve in written.items():
        np.testing.assert_array_equal(np.float32(read[song].prediction_TxV), curve.prediction_TxV)
        np.testing.assert_array_equal(read[song].mask_TxV, curve.mask_TxV)
        np.testing.assert_array_equal(times_read[song], times[song])
        where = curve.mask_TxV
        np.testing.assert_array_equal(
            np.float32(read[song].truth_TxV[where]), curve.truth_TxV[where]
        )


HEADER = ",".join(predictions.COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("", "the columns are not song_id,time_s,"),
        ("song_id,time_s,arousal,valence,valence_true,arousal_true\n", "the columns are not"),
        (HEADER, "no valence labels"),
        (HEADER + "a,0.0,1,1,1,nan\n", "no arousal labels"),
        (HEADER + "a,0.0,1,1,1,1\na,0.5,1,1,1\n", "line 3: a,0.5,1,1,1"),
        (HEADER + "a,0.0,1,1,1,1,1,1,1,1\n", "line 2: a,0.0,1"),
        (HEADER + "a,0.0,1,x,1,1\n", "could not convert string to float: 'x'"),
        (HEADER + "a,inf,1,1,1,1\n", "line 2: a,inf"),
        (HEADER + "a,x,1,1,1,1\n", "could not convert string to float: 'x'"),
        (HEADER + "a,0.0,nan,1,1,1\n", "line 2: a,0.0,nan"),
        (HEADER + "a,0.0,1,inf,1,1\n", "line 2: a,0.0,1,inf"),
        (HEADER + "\n", "line 2: "),
        (HEADER + "\xff,0.0,1,1,1,1\n", "can't decode"),
        (HEADER + "a" * 200_000 + ",0.0,1,1,1,1\n", "field larger than"),
    ],
)
def test_malformed_predictions_are_refused_by_name(tmp_path, content, reason):
    path = tmp_path / PREDICTIONS
    if content is not None:
        path.write_bytes(content.encode("latin1"))
    with pytest.raises(PredictionsError, match=f"^{path}: .*{reason}"):
        predictions.read(path)


def test_folds_are_merged_and_a_song_tested_twice_is_refused():
    first, second = ({"a": 1, "b": 2}, {"c": 3})
    assert scores.merge([first, second]) == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(StudyError, match="song b is a test song in two folds"):
        scores.merge([first, {"b": 4}])


def test_mean_and_spread_over_seeds():
    summaries = [metrics.summarize(made_up(seed)) for seed in range(3)]
    result = scores.mean_and_std(summaries)
    values = [summary["arousal"]["per_song"]["rmse"] for summary in summaries]
    assert result["arousal/per_song/rmse"] == pytest.approx(
        [sum(values) / 3, np.sqrt(sum((x - sum(values) / 3) ** 2 for x in values) / 2)], rel=1e-12
    )
    assert result.keys() == metrics.flatten(summaries[0]).keys()
    assert scores.mean_and_std(summaries[:1])["valence/ccc"] == [
        summaries[0]["valence"]["pooled"]["ccc"],
        0.0,
    ]


def pooled_ccc(songs, curves, v):
    pairs = [(curves[s].prediction_TxV, curves[s].truth_TxV, curves[s].mask_TxV) for s in songs]
    x, y = (np.concatenate([p[i][p[2][:, v], v] for p in pairs]) for i in (0, 1))
    return metrics.ccc(x, y)


def test_intervals_equal_those_of_a_bootstrap_that_joins_the_songs_drawn(monkeypatch):
    n_resamples = 200
    monkeypatch.setattr(scores, "_RESAMPLES", n_resamples)
    ours = [made_up(1), made_up(2)]
    theirs = [made_up(3, noise=0.6), made_up(4, noise=0.6), made_up(5, noise=0.6)]
    intervals = scores.paired_intervals(ours, theirs, GROUPS, seed=7)

    rng = np.random.default_rng(7)
    draws = rng.integers(3, size=(n_resamples, 3))
    for v, name in enumerate(metrics.DIMENSIONS):

        def difference(songs, systems, v=v):
            means = [np.mean([pooled_ccc(songs, seed, v) for seed in seeds]) for seeds in systems]
            return means[0] - means[1]

        # A column per sample, and one more for the sample of all.
        seeds = [rng.integers(n, size=(n, n_resamples + 1))[:, 1:].T for n in (2, 3)]
        sampled = []
        for draw, first, second in zip(draws, *seeds, strict=True):
            drawn = ["abc"[g] for g in draw]
            songs = [s for g in drawn for s in GROUPS if GROUPS[s] == g]
            sampled.append(
                difference(songs, ([ours[s] for s in first], [theirs[s] for s in second]))
            )
        low, high = np.percentile(sampled, [2.5, 97.5])
        expected = difference(GROUPS, (ours, theirs))
        assert intervals[name].difference == pytest.approx(expected, abs=1e-12)
        assert intervals[name].low == pytest.approx(low, abs=1e-12)
        assert intervals[name].high == pytest.approx(high, abs=1e-12)
        assert low < expected < high


def test_a_system_of_one_seed_does_not_differ_from_itself():
    ours = [made_up(1)]
    for interval in scores.paired_intervals(ours, ours, GROUPS).values():
        assert dataclasses.astuple(interval) == (0.0, 0.0, 0.0)


def test_seeds_that_differ_widen_the_interval():
    alike, apart = [made_up(1)] * 3, [made_up(1), made_up(1, noise=1.0), made_up(1, noise=0.0)]
    reference = [made_up(2)]
    for narrow, wide in zip(
        scores.paired_intervals(alike, reference, GROUPS).values(),
        scores.paired_intervals(apart, reference, GROUPS).values(),
        strict=True,
    ):
        assert narrow.high - narrow.low < wide.high - wide.low


def test_systems_tested_on_different_songs_are_not_compared():
    ours = made_up(1)
    theirs = {song: curve for song, curve in ours.items() if song != "b_4"}
    with pytest.raises(StudyError, match="different songs: b_4"):
        scores.paired_intervals([ours], [ours, theirs], GROUPS)


@settings(deadline=None, max_examples=50)
@given(
    value=st.floats(-1, 1),
    seed=st.integers(0, 99),
    times=st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any),
)
def test_ccc_from_sums_is_that_of_the_points_and_0_of_a_constant(value, seed, times):
    songs = [song for song in GROUPS for _ in range(times["abc".index(song[0])])]
    for curves in (made_up(seed), made_up(seed, prediction=np.float32(value))):
        for v in range(2):
            (result,) = scores.times_ccc(curves, "abc", GROUPS, v, np.array([times]))
            assert result == pytest.approx(pooled_ccc(songs, curves, v), abs=1e-12)


def test_a_sample_without_labels_scores_0():
    curves = made_up(0)
    curves |= {s: c._replace(mask_TxV=c.mask_TxV & False) for s, c in curves.items() if s[0] == "a"}
    assert scores.times_ccc(curves, "abc", GROUPS, 0, np.array([[3, 0, 0]])) == [0.0]


# The table ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A completed study: its arguments, its curves, and its folder."""
    folder = tmp_path_factory.mktemp("study")
    systems = {
        "ours": {"command": ["ours"]},
        "worse": {"command": ["worse"]},
        "unfinished": {"command": ["unfinished"], "init_from": "pre"},
        "pre": {"command": ["pre"], "pretraining": True},
    }
    study = study_of(systems, group=r"(.)_\d+")
    config = folder / "tiny.py"
    config.write_text(f"def get_study():\n    return {study!r}\n")
    curves = {}
    for run in plan(study, folder / "runs", systems=list(systems), folds=(0, 1), seeds=(0, 1)):
        if run.system in ("pre", "unfinished"):
            continue
        noise = {"ours": 0.2, "worse": 0.8}[run.system]
        of_seed = made_up(10 * len(run.system) + run.seed, noise=noise)
        half = {s: c for s, c in of_seed.items() if int(s[-1]) % 2 == run.fold}
        curves.setdefault((run.system, run.seed), {}).update(half)
        done(run, seconds=60.0 + 120.0 * run.fold)
        times = {song: 0.5 * np.arange(len(c.truth_TxV)) for song, c in half.items()}
        predictions.write(run.workdir / PREDICTIONS, half, times)
    return [f"--config={config}", f"--study_dir={folder / 'runs'}"], curves, folder


def numbers(curves, v):
    """CCC, RMSE, mean CCC and r of songs, only by numpy."""

    def ccc(x, y):
        gap = (x.mean() - y.mean()) ** 2
        return 2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + gap)

    pairs = []
    for curve in curves.values():
        rows = curve.mask_TxV[:, v]
        x, y = (z.astype(np.float64)[rows, v] for z in curve[:2])
        pairs.append((x, y))
    x, y = (np.concatenate(z) for z in zip(*pairs, strict=True))
    rmse = np.sqrt(np.mean((x - y) ** 2))
    r = np.mean([np.corrcoef(x, y)[0, 1] for x, y in pairs])
    return ccc(x, y), rmse, np.mean([ccc(x, y) for x, y in pairs]), r


def test_the_scores_of_a_study_are_those_of_its_predictions(finished, tmp_path, capsys):
    argv, curves, _ = finished
    assert __main__.main([*argv, "--table", f"--output={tmp_path}/new/results"]) == 0
    assert (tmp_path / "new" / "results.html").read_text().startswith("<!doctype html>")
    results = json.loads((tmp_path / "new" / "results.json").read_text())
    assert results["reference"] == "ours" and list(results["protocols"]) == [""]
    results = results["protocols"][""]
    text = (tmp_path / "new" / "results.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    n_segments = max(len(curve.truth_TxV) for curve in curves["ours", 0].values())
    assert results["folds"] == [0, 1] and results["seconds"] == [0.0, n_segments / 2]
    assert list(results["systems"]) == ["ours", "worse"]
    names = ("ccc", "rmse", "per_song/ccc", "per_song/pearson")
    for system, row in results["systems"].items():
        assert row["seeds"] == [0, 1] and row["parameters"] is None and row["seconds"] == 120.0
        assert row["n_songs"] == 6
        of_system = [curves[system, seed] for seed in (0, 1)]
        masks = [curve.mask_TxV for curve in of_system[0].values()]
        assert row["n_points"] == np.concatenate(masks).any(axis=1).sum()
        for v, dimension in enumerate(metrics.DIMENSIONS):
            values = np.array([numbers(seed, v) for seed in of_system])
            for k, name in enumerate(names):
                mean_and_std = [values[:, k].mean(), abs(values[0, k] - values[1, k]) / np.sqrt(2)]
                assert row["scores"][f"{dimension}/{name}"] == pytest.approx(mean_and_std, abs=1e-9)
                by_seed = [row["by_seed"][s][f"{dimension}/{name}"] for s in ("0", "1")]
                assert by_seed == pytest.approx(values[:, k], abs=1e-9)
            per_fold = [
                np.mean([numbers({s: c for s, c in seed.items() if int(s[-1]) % 2 == fold}, v)[0]
                         for seed in of_system])
                for fold in (0, 1)
            ]  # fmt: skip
            assert row["by_fold"][f"{dimension}/ccc"] == pytest.approx(per_fold, abs=1e-9)
    assert results["systems"]["ours"]["against"] == {}
    for v, dimension in enumerate(metrics.DIMENSIONS):
        interval = results["systems"]["worse"]["against"][dimension]
        ours, worse = (np.mean([numbers(curves[s, k], v)[0] for k in (0, 1)])
                       for s in ("ours", "worse"))  # fmt: skip
        assert interval["difference"] == pytest.approx(worse - ours, abs=1e-9)
        assert interval["low"] < worse - ours < interval["high"]


def test_the_bootstrap_draws_groups_of_the_studys_pattern(finished, monkeypatch, capsys):
    argv, _, _ = finished
    seen = []
    monkeypatch.setattr(
        scores, "paired_intervals", lambda ours, reference, groups: seen.append(groups) or {}
    )
    assert __main__.main([*argv, "--table"]) == 0
    assert seen == [GROUPS]
    assert results._group("odd", r"(.)_\d+") == results._group("odd", "") == "odd"
    capsys.readouterr()


def test_only_seeds_with_all_chosen_folds_count(finished, capsys):
    argv, _, folder = finished
    record = folder / "runs" / "worse" / "fold1_seed1" / "study.json"
    content = record.read_text()
    record.unlink()
    try:
        for arguments, seeds in ((["--table"], "1"), (["--table", "--folds=0"], "2")):
            assert __main__.main([*argv, *arguments]) == 0
            rows = capsys.readouterr().out.strip().splitlines()
            assert [row.split(" | ")[0:2] for row in rows[-2:]] == [
                ["| ours", "2"],
                ["| worse", seeds],
            ]
    finally:
        record.write_text(content)


def study_page_of(results, tmp_path):
    """The text of the page of results: the same numbers, drawn and in tables."""
    study_page.write(tmp_path / "a.html", "tiny", results)
    page = (tmp_path / "a.html").read_text()
    for svg in re.findall(r"<svg.*?</svg>", page):
        ElementTree.fromstring(svg)
    labels = re.findall(r'aria-label="(CCC[^"]*)"', page)
    assert labels == [
        "CCC in valence of 2 systems",
        "CCC in arousal of 2 systems",
        "CCC in valence − that of damff, with 95 % intervals",
    ]
    assert page.count("−0.250 [−0.300, +0.062]") == 2 and "12,345" in page
    assert "−0.050 ± 0.012" in page and "1,744 test songs in 2 folds" in page
    return page


def test_the_table(tmp_path):
    row = {
        "scores": {
            f"{dimension}/{name}": [mean, 0.0123]
            for dimension in metrics.DIMENSIONS
            for name, mean in (
                ("ccc", -0.05), ("pearson", -0.1), ("rmse", 1.25),
                ("per_song/ccc", 0.5), ("per_song/pearson", 0.0), ("per_song/rmse", 0.75),
                ("within_song/ccc", 0.25), ("within_song/pearson", -0.125),
            )
        },
        "against": {"valence": {"difference": -0.25, "low": -0.3, "high": 0.0625}},
        "seconds": 90.0,
        "n_songs": 1744,
        "n_points": 34880,
    }  # fmt: skip
    part = {
        "folds": [0, 1],
        "seconds": [30.0, 40.0],
        "systems": {
            "one": {**row, "seeds": [0], "parameters": 12345},
            "two": {**row, "seeds": [0, 1], "parameters": None, "against": {}},
        },
    }
    results = {"reference": "damff", "protocols": {"": part}}
    assert "−0.250 [−0.300, +0.062]" in study_page_of(results, tmp_path)
    of_protocols = {"in folds": part, "none done": {**part, "systems": {}}, "once": part}
    with_headings = table.markdown({**results, "protocols": of_protocols}).split("\n\n")
    text = "1,744 test songs in 2 folds, 34,880 points, seconds 30 to 40 of the songs."
    assert with_headings[:2] == ["### in folds", text] and with_headings[5] == "### once"
    tables = [part.splitlines() for part in table.markdown(results).split("\n\n")]
    assert with_headings[2:5] == with_headings[7:] == ["\n".join(lines) for lines in tables]
    names = "r | RMSE | per song: CCC | r | RMSE | within song: CCC | r |"
    valence, arousal = (
        [
            f"| {dimension}, pooled: | CCC | CCC − that of damff [95 %] | {names}",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for dimension in metrics.DIMENSIONS
    )
    one = "−.100 | 1.250 | .500 | .000 | .750 | .250 | −.125 |"
    two = (
        "| two | −.050 ± .012 |  | −.100 ± .012 | 1.250 ± .012 | .500 ± .012 | .000 ± .012 "
        "| .750 ± .012 | .250 ± .012 | −.125 ± .012 |"
    )
    assert tables[0] == [*valence, f"| one | −.050 | −.250 [−.300, +.062] | {one}", two]
    assert tables[1] == [*arousal, f"| one | −.050 |  | {one}", two]
    assert tables[2] == [
        "| cost | seeds | parameters | minutes per run |",
        "| --- | --- | --- | --- |",
        "| one | 1 | 12,345 | 1.5 |",
        "| two | 2 |  | 1.5 |",
    ]


# The command -------------------------------------------------------------------------------------


def test_another_system_can_be_the_one_compared_with(finished, tmp_path, capsys):
    argv, _, _ = finished
    outputs = {}
    for reference in ("ours", "worse"):
        output = f"--output={tmp_path}/{reference}"
        assert __main__.main([*argv, "--table", f"--reference={reference}", output]) == 0
        assert f"CCC − that of {reference} [95 %]" in capsys.readouterr().out
        results = json.loads((tmp_path / f"{reference}.json").read_text())
        outputs[reference] = results["protocols"][""]["systems"]
    one, other = outputs["ours"]["worse"]["against"], outputs["worse"]["ours"]["against"]
    assert outputs["worse"]["worse"]["against"] == {}
    for dimension in metrics.DIMENSIONS:
        assert one[dimension]["difference"] == pytest.approx(-other[dimension]["difference"])
        assert one[dimension]["low"] == pytest.approx(-other[dimension]["high"])


def test_the_command_runs_a_study_and_prints_its_table(tmp_path, capsys):
    config = tmp_path / "tiny.py"
    study = study_of({"good": FAKES["good"], "bad": {"command": ["-c", "raise SystemExit('bad')"]}})
    config.write_text(f"def get_study():\n    return {study!r}\n")
    argv = [f"--config={config}", f"--study_dir={tmp_path / 'runs'}", "--folds=0", "--jobs=2"]
    assert __main__.main([*argv, "--seeds=1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/2 ") and lines[1].startswith("[2/2 ")
    assert {line.split("] ")[1].split(" (see")[0] for line in lines[:2]} == {
        "good/fold0_seed1: done",
        "bad/fold0_seed1: exit status 1: bad",
    }
    # In the tables of valence, of arousal and of the cost.
    rows = [line for line in lines if line.startswith("| good |")]
    assert len(rows) == 3 and rows[-1].startswith("| good | 1 |")
    assert not any("| bad |" in line for line in lines)
    assert __main__.main([*argv, "--seeds=1", "--systems=good"]) == 0
    assert len((tmp_path / "runs" / "good" / "fold0_seed1" / "starts").read_text()) == 1
    capsys.readouterr()


def test_the_table_is_of_all_that_is_done(tmp_path, capsys):
    config = tmp_path / "tiny.py"
    config.write_text(f"def get_study():\n    return {study_of({**FAKES, 'more': fake(0.3)})!r}\n")
    argv = [f"--config={config}", f"--study_dir={tmp_path / 'runs'}", "--folds=0"]

    def rows_of(*arguments, status=0):
        assert __main__.main([*argv, *arguments]) == status
        output = capsys.readouterr()
        lines = output.out.split("| cost ")[-1].splitlines()
        return [line.split(" | ")[0] for line in lines[2:]], output

    # Only pretraining: done, but without a table.
    rows, output = rows_of("--systems=pre", "--seeds=0")
    assert not rows and "no table yet" in output.out
    assert rows_of("--systems=good", "--seeds=0")[0] == ["| good"]
    assert rows_of("--systems=more", "--seeds=0")[0] == ["| good", "| more"]
    assert rows_of("--systems=more", "--seeds=0", "--again")[0] == ["| good", "| more"]
    assert rows_of("--systems=more", "--table")[0] == ["| more"]
    # What cannot be scored is named, and nothing else is affected.
    path = tmp_path / "runs" / "good" / "fold0_seed0" / PREDICTIONS
    path.write_text("nothing\n")
    rows, output = rows_of("--table", status=1)
    assert rows == ["| more"]
    assert output.err.startswith(f"study: not in the table: {path}: the columns are not")


def test_protocols_are_run_and_shown_apart(tmp_path, capsys):
    """A system that names its protocols is in no other."""
    here = {**FAKES["good"], "protocols": ("long",)}
    study = study_of({"good": FAKES["good"], "here": here})
    del study["folds"]
    study["protocols"] = {"short": (1,), "long": (0, 1)}
    config = tmp_path / "tiny.py"
    config.write_text(f"def get_study():\n    return {study!r}\n")
    argv = [f"--config={config}", f"--study_dir={tmp_path / 'runs'}", "--seeds=0"]
    assert __main__.main([*argv, "--protocols=short"]) == 0
    assert "### long" not in capsys.readouterr().out
    assert __main__.main([*argv, f"--output={tmp_path / 'out'}"]) == 0
    output = capsys.readouterr().out
    assert "long/here/fold1_seed0: done" in output and "short/here" not in output
    assert output.index("### short\n\n2 test songs, 8 points") < output.index("### long")
    parts = json.loads((tmp_path / "out.json").read_text())["protocols"]
    assert {name: list(part["systems"]) for name, part in parts.items()} == {
        "short": ["good"],
        "long": ["good", "here"],
    }
    assert [part["folds"] for part in parts.values()] == [[1], [0, 1]]


PLAIN = "def get_study():\n    return {study}\n"


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, [], "No such file"),
        ("x = 1", [], "does not define a study"),
        ("x = ", [], "does not define a study"),
        ("import nothing_of_that_name", [], "does not define a study"),
        ("def get_study():\n    return 1 / 0", [], "does not define a study (ZeroDivisionError"),
        ("def get_study():\n    return 7", [], "does not define a study"),
        ("def get_study():\n    return {'folds': ()}", [], "the study lacks 'group'"),
        (PLAIN, ["--protocols=x"], "unknown protocol 'x'; available: "),
        (PLAIN.format(study=study_of(SYSTEMS, reference="z")), [], "is not a system: 'z'"),
        (PLAIN, ["--systems=a,nope"], "unknown system 'nope'; available: a, "),
        (PLAIN, ["--folds=0,7"], "unknown fold 7 in "),
        (PLAIN, ["--folds=x"], "'x' is not a list of integers"),
        (PLAIN, ["--seeds=1,"], "'1,' is not a list of integers"),
        (PLAIN, ["--jobs=0"], "--jobs=0"),
        (PLAIN, ["--again", "--table"], "--again"),
        (PLAIN, ["--reference=z"], "unknown system 'z' in "),
        (PLAIN, ["--nope"], "unrecognized arguments: --nope"),
        (PLAIN, ["--systems=files"], "--manual_dir is required"),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(tmp_path, capsys, content, arguments, message):
    config = tmp_path / "tiny.py"
    study = study_of({**SYSTEMS, "files": {"command": ["x", "{manual_dir}/x"]}})
    if content is not None:
        config.write_text(PLAIN.format(study=repr(study)) if content == PLAIN else content)
    with pytest.raises(SystemExit) as stop:
        __main__.main([f"--config={config}", f"--study_dir={tmp_path / 'runs'}", *arguments])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("study: error: ") and message in line
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_not_python_is_not_a_study():
    with pytest.raises(StudyError, match="not a Python file"):
        __main__.load_study("study.txt")


def test_the_table_is_printed_without_jax(finished):
    argv, _, _ = finished
    code = (
        "import sys; from damff_jax.study.__main__ import main; main(sys.argv[1:]); "
        "sys.exit(bool({'jax', 'tensorflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *argv, "--table"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "| worse | 2 |" in result.stdout, result.stderr


def test_a_run_of_another_process_is_not_started(tmp_path):
    (run,) = plan(study_of(FAKES), tmp_path, systems=["good"], folds=[0], seeds=[0])
    run.workdir.mkdir(parents=True)
    with open(run.workdir / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ((_, reason),) = run_all([run])
    assert "another process is running it" in reason
    assert [reason for _, reason in run_all([run])] == [""]


def test_again_that_cannot_start_deletes_nothing(tmp_path):
    (run,) = plan(study_of(FAKES), tmp_path, systems=["good"], folds=[0], seeds=[0])
    assert [reason for _, reason in run_all([run])] == [""]
    after = dataclasses.replace(run, workdir=tmp_path / "lacking")
    with pytest.raises(StudyError, match="starts from"):
        list(run_all([dataclasses.replace(run, after=(after,))], again=True))
    assert run.is_done()
    (run.workdir / "left over").touch()
    assert [reason for _, reason in run_all([run], again=True)] == [""]
    assert not (run.workdir / "left over").exists()


def test_a_system_can_be_anothers_average(finished, tmp_path, capsys):
    _, _, folder = finished
    run, workdir = folder / "runs" / "ours" / "fold0_seed1", tmp_path / "new" / "run"
    argv = [f"--of={run}", f"--workdir={workdir}", "--width=5", "--delay=1"]
    assert averaged.main(argv) == 0
    before, after = (predictions.read(path / PREDICTIONS) for path in (run, workdir))
    assert list(before[0]) == list(after[0])
    for song, (x_TxV, truth_TxV, mask_TxV) in before[0].items():
        padded = np.pad(x_TxV, ((3, 1), (0, 0)), constant_values=np.nan)
        expected = [np.nanmean(padded[t : t + 5], axis=0) for t in range(len(x_TxV))]
        np.testing.assert_allclose(after[0][song].prediction_TxV, expected, rtol=1e-8)
        np.testing.assert_array_equal(after[0][song].truth_TxV, truth_TxV)
        np.testing.assert_array_equal(after[0][song].mask_TxV, mask_TxV)
        np.testing.assert_array_equal(after[1][song], before[1][song])

    rows = (workdir / PREDICTIONS).read_text().splitlines()
    (workdir / PREDICTIONS).write_text("\n".join([*rows[:2], *rows[3:]]) + "\n")
    assert averaged.main([f"--of={workdir}", *argv[1:]]) == 1
    assert averaged.main([f"--of={tmp_path}", *argv[1:]]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "has gaps" in errors[0] and "No such file" in errors[1]
    for wrong in ("--width=4", "--width=-1", "--delay=3", "--delay=-1"):
        with pytest.raises(SystemExit) as stop:
            averaged.main([*argv, wrong])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert wrong in line


def test_human_raters_are_not_compared_by_another_truth(finished, tmp_path, capsys):
    argv, _, folder = finished
    path = folder / "runs" / "worse" / "fold0_seed0" / PREDICTIONS
    content = path.read_text()
    read, times = predictions.read(path)
    curves = {s: c._replace(truth_TxV=-c.truth_TxV) for s, c in read.items()}
    try:
        predictions.write(path, curves, times)
        assert __main__.main([*argv, "--table", f"--output={tmp_path / 'out'}"]) == 0
        results = json.loads((tmp_path / "out.json").read_text())
        assert results["protocols"][""]["systems"]["worse"]["against"] == {}
    finally:
        path.write_text(content)
    capsys.readouterr()
