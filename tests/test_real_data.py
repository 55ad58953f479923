"""Training on real songs and real ratings; needs the folder named by DAMFF_REAL_DATA."""

import csv
import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import train
from damff_jax import audio, features, predict, weights
from damff_jax.configs import deam, vgmidi
from damff_jax.features import FeatureConfig
from damff_jax.study import __main__ as study
from input_pipeline import datasets, pipeline, prepare
from input_pipeline.midi import MidiFile, find_soundfonts, midi_seconds

DATA = os.environ.get("DAMFF_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="DAMFF_REAL_DATA is not set")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def deam_run(data_dir, tmp_path_factory):
    """DAMFF at the paper's settings, trained on the available clips: its workdir and scores."""
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


# Excerpts of all of DEAM -------------------------------------------------------------------------

LABELS = Path("annotations", "annotations averaged per song", "dynamic (per second annotations)")
SMALL = FeatureConfig(sample_rate=8000, n_fft=512, win_length=512, hop_length=400, n_mels=16)


@pytest.fixture(scope="module")
def excerpts(data_dir, tmp_path_factory):
    """Seconds 30 to 40 of all songs, prepared: the folder of the files, and the builder."""
    folder = tmp_path_factory.mktemp("excerpts")
    (folder / "MEMD_audio").symlink_to(Path(DATA, "deam_excerpts", "MEMD_audio").resolve())
    (folder / "annotations").symlink_to(Path(DATA, "deam", "annotations").resolve())
    argv = ["--dataset=deam", f"--manual_dir={folder}", f"--data_dir={data_dir}"]
    argv += [f"--features.{name}={x}" for name, x in dataclasses.asdict(SMALL).items()]
    assert prepare.main([*argv, "--audio_start=30", "--require_all", "--workers=2"]) == 0
    options, _ = datasets.make_settings("deam", {"audio_start": 30})
    builder = datasets.open_builder("deam", data_dir=data_dir, features=SMALL, options=options)
    return folder, builder


def test_excerpts_of_all_songs_are_twenty_segments_each(excerpts):
    metadata = excerpts[1].info.metadata
    report = metadata["report"]
    assert set(metadata["songs"].values()) == {20} and len(metadata["songs"]) == 1802
    assert (report["n_songs"], report["n_segments"], report["n_labels"]) == (1802, 36_040, 72_080)
    assert report["seconds_of_songs"] == [30.0, 40.0]
    assert report["left_out"] == {}
    # Of 129,995, thirty half-seconds of every song are before the excerpt.
    assert report["n_cut_off"] == {"before": 54_060, "past": 129_995 - 54_060 - 36_040}


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"protocol": "release"}, (1570, 174, 58)),
        ({"protocol": "mediaeval2015"}, (388, 43, 58)),
        ({"protocol": "cross_validation", "fold": 0}, (1412, 157, 175)),
        ({"protocol": "mediaeval2015_cross_validation", "fold": 9}, (349, 39, 43)),
    ],
)
def test_all_protocols_split_the_excerpts(excerpts, options, sizes):
    folder, builder = excerpts
    _, split = datasets.make_settings("deam", options)
    dataset = datasets.Dataset.of(builder, split, folder)
    counts = dict(zip(("train", "validation", "test"), sizes, strict=True))
    assert dataset.counts() == {name: (n, 20 * n) for name, n in counts.items()}
    assert not datasets.is_outdated(builder, folder)


def test_excerpts_have_the_labels_of_their_seconds(excerpts):
    folder, builder = excerpts
    songs = pipeline.load_songs(builder, list(builder.info.metadata["songs"]))
    for v, name in enumerate(("valence.csv", "arousal.csv")):
        with open(folder / LABELS / name, newline="") as file:
            rows = {row["song_id"]: row for row in csv.DictReader(file)}
        for song in songs:
            np.testing.assert_array_equal(song.times_T, 30 + 0.5 * np.arange(20))
            cells = [rows[song.song_id][f"sample_{round(1000 * t)}ms"] for t in song.times_T]
            np.testing.assert_allclose(
                song.labels_TxV[:, v], np.float64(cells), rtol=0, atol=1e-7, err_msg=song.song_id
            )
    assert songs.mask_RxV.all()


def test_excerpts_sound_as_the_clips_do_at_their_seconds(excerpts):
    """Six clips of the release; encoding them again changes less than a shift would."""
    _, builder = excerpts
    clips = audio.find(Path(DATA, "deam", "MEMD_audio"))
    clips = {Path(path).stem: path for path in clips}
    assert len(clips) == 6
    for song in pipeline.load_songs(builder, sorted(clips)):
        frames = features.log_mel(audio.load(clips[song.song_id], SMALL.sample_rate), SMALL)
        ours = song.log_mel_TxFxM.reshape(-1, SMALL.n_mels).astype(np.float32)[2:-2]
        f = SMALL.frames_per_segment

        def apart(shift, frames=frames, ours=ours, first=60 * f + 2):
            theirs = frames[first + shift : first + shift + len(ours)]
            return np.abs(np.maximum(ours, -60) - np.maximum(theirs, -60)).mean()

        shifts = range(-20, 21)
        assert min(shifts, key=apart) == 0, song.song_id
        assert apart(0) < 2.0, song.song_id


# Piano -------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
def test_all_rated_pieces_are_rendered_and_studied(data_dir, tmp_path, capsys):
    config = vgmidi.get_config()
    flags = [f"--features.{name}={x}" for name, x in config.features.items()]
    argv = ["--dataset=vgmidi", f"--manual_dir={DATA}/vgmidi", f"--data_dir={data_dir}", *flags]
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
    systems = json.loads(output.with_suffix(".json").read_text())["protocols"][""]["systems"]
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
@pytest.mark.parametrize("name", sorted(weights.shipped()))
def test_shipped_weights_distinguish_calm_from_excited_piano_in_unseen_songs(name):
    predictor = predict.Predictor(name, batch_size=1)
    soundfont = find_soundfonts()[0]
    arousal = {}
    for quadrant in ("Q1", "Q2", "Q3", "Q4"):
        # About every 40th, so that hardly any two are of one song.
        for path in sorted(Path(DATA, "emopia", "midi").glob(f"{quadrant}_*.mid"))[::40]:
            source = MidiFile(str(path), soundfont, midi_seconds(path))
            rate = predictor.features.sample_rate
            curve_TxV = predictor.from_waveform(np.concatenate(list(source.blocks(rate))), rate)
            arousal.setdefault(quadrant in ("Q1", "Q2"), []).append(curve_TxV[:, 1].mean())
    # The area under the ROC curve.
    assert np.mean(np.array(arousal[True])[:, None] > np.array(arousal[False])) > 0.8
