"""The main job on real songs and real ratings; needs the folder that DAMFF_REAL_DATA names."""

import os
import shutil
from pathlib import Path

import pytest

import train
from configs import deam, vgmidi
from damff_jax import predict
from input_pipeline import prepare

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
def test_all_rated_pieces_are_rendered_and_trained_on(data_dir, tmp_path, capsys):
    config = vgmidi.get_config()
    knobs = [f"--features.{name}={x}" for name, x in config.features.items()]
    argv = ["--dataset=vgmidi", f"--manual_dir={DATA}/vgmidi", f"--data_dir={data_dir}", *knobs]
    argv += [f"--{name}={x}" for name, x in config.data.options.items()]
    assert prepare.main([*argv, "--require_all"]) == 0
    report = capsys.readouterr().out
    assert "90 songs" in report
    assert "59 songs" in report
    config.data.data_dir = str(data_dir)
    config.num_train_steps = 4
    scores = train.run(config, tmp_path)
    assert scores["test"]["n_songs"] == 59
