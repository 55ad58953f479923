"""The main job on real songs and real ratings; needs the folder that DAMFF_REAL_DATA names."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import train
from configs import deam, vgmidi
from damff_jax import predict
from damff_jax.study import __main__ as study
from input_pipeline import prepare
from input_pipeline.midi import MidiFile, find_soundfonts, midi_seconds

DATA = os.environ.get("DAMFF_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="DAMFF_REAL_DATA is not set")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def deam_run(data_dir, tmp_path_factory):
    """DAMFF at the paper's setting, trained on the clips at hand: its workdir and scores."""
    config = deam.get_config()
    config.batch_size = 4
    config.num_train_steps = 80
    config.log_every_steps = 10
    config.optim.learning_rate = 3e-3
    config.data.manual_dir = os.path.join(DATA, "deam")
    config.data.data_dir = str(data_dir)
    config.data.eval_batch_size = 4
    config.data.eval_splits = ("train",)
    workdir = tmp_path_factory.mktemp("deam")
    return workdir, train.run(config, workdir)


def test_the_model_fits_real_clips(deam_run):
    _, scores = deam_run
    assert scores["train"]["n_songs"] == 6
    assert scores["train"]["n_points"] == 360
    assert scores["train"]["arousal"]["pooled"]["ccc"] >= 0.9
    assert scores["train"]["valence"]["pooled"]["ccc"] >= 0.9


def test_a_real_clip_gives_a_row_per_half_second(deam_run, tmp_path):
    workdir, _ = deam_run
    clip = Path(DATA) / "deam" / "MEMD_audio" / "2.mp3"
    assert predict.main([str(clip), f"--checkpoint={workdir}", f"--output_dir={tmp_path}"]) == 0
    header, *rows = (tmp_path / "2.csv").read_text().splitlines()
    assert header == "time_s,valence,arousal"
    assert len(rows) == 90
    assert rows[0].startswith("0.0,")
    assert rows[-1].startswith("44.5,")


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
def test_all_rated_pieces_are_rendered_and_studied(data_dir, tmp_path, capsys):
    config = vgmidi.get_config()
    knobs = [f"--features.{name}={x}" for name, x in config.features.items()]
    argv = ["--dataset=vgmidi", f"--manual_dir={DATA}/vgmidi", f"--data_dir={data_dir}", *knobs]
    argv += [f"--{name}={x}" for name, x in config.data.options.items()]
    assert prepare.main([*argv, "--require_all"]) == 0
    report = capsys.readouterr().out
    assert "90 songs" in report
    assert "59 songs" in report

    output = tmp_path / "table"
    argv = ["--config=configs/studies/vgmidi.py", f"--manual_dir={DATA}", f"--data_dir={data_dir}"]
    argv += ["--systems=human_half,constant,ridge,damff", "--seeds=0", "--jobs=2"]
    argv += [f"--study_dir={tmp_path}/study", f"--output={output}"]
    assert study.main([*argv, "--arg=--config.num_train_steps=2"]) == 0
    systems = json.loads(output.with_suffix(".json").read_text())["systems"]
    for system in systems.values():
        assert system["n_songs"] == 158
    scores = {name: system["scores"] for name, system in systems.items()}
    # Two halves of about 15 raters each; see the data sheet of the labels.
    assert scores["human_half"]["valence/ccc"][0] == pytest.approx(0.81, abs=0.03)
    assert scores["human_half"]["arousal/ccc"][0] == pytest.approx(0.85, abs=0.03)
    assert scores["ridge"]["arousal/ccc"][0] > 0.5
    assert scores["constant"]["arousal/per_song/ccc"][0] == 0
    for name in ("constant", "ridge", "damff"):
        truth, prediction = [], []
        for fold in range(3):
            path = tmp_path / "study" / name / f"fold{fold}_seed0" / "predictions_test.csv"
            with open(path, newline="") as file:
                rows = list(csv.DictReader(file))
            truth += [float(row["arousal_true"]) for row in rows]
            prediction += [float(row["arousal"]) for row in rows]
        covariance = np.cov(prediction, truth, bias=True)[0, 1]
        shift = (np.mean(prediction) - np.mean(truth)) ** 2
        ccc = 2 * covariance / (np.var(prediction) + np.var(truth) + shift)
        assert scores[name]["arousal/ccc"][0] == pytest.approx(ccc, abs=1e-9)


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
def test_the_weights_that_come_along_tell_clips_of_songs_never_heard_apart():
    predictor = predict.Predictor(batch_size=1)
    soundfont = find_soundfonts()[0]
    arousal = {}
    for quadrant in ("Q1", "Q2", "Q3", "Q4"):
        # Every 40th or so, so that hardly two are of one song.
        for path in sorted(Path(DATA, "emopia", "midi").glob(f"{quadrant}_*.mid"))[::40]:
            source = MidiFile(str(path), soundfont, midi_seconds(path))
            rate = predictor.features.sample_rate
            curve_TxV = predictor.from_waveform(np.concatenate(list(source.blocks(rate))), rate)
            arousal.setdefault(quadrant in ("Q1", "Q2"), []).append(curve_TxV[:, 1].mean())
    # The area under the ROC curve.
    assert np.mean(np.array(arousal[True])[:, None] > np.array(arousal[False])) > 0.8
