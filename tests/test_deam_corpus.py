"""DEAM from label files and mp3 to scores, by all its protocols.

Once on made-up labels, and once on those of the release if DAMFF_REAL_DATA names the folder that
holds them; the audio is composed from the labels (see make_deam_corpus.py). What is expected comes
from the files by way of csv and numpy alone.
"""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

import train
from configs import deam
from input_pipeline import prepare
from input_pipeline.deam.deam_dataset_builder import mediaeval2015_ids
from tests.make_deam_corpus import AUDIO, FILES, LABELS, make_corpus

ROOT = Path(__file__).parents[1]
REAL_LABELS = Path("deam", *LABELS.parts[1:])
N_FOLDS = 10
FEATURES = {"sample_rate": 16_000, "n_fft": 512, "win_length": 512, "hop_length": 800, "n_mels": 16}
FOLDS = [{"protocol": "cross_validation", "fold": fold} for fold in range(N_FOLDS)]
VERSIONS = [{"protocol": "release"}, {"protocol": "mediaeval2015"}, *FOLDS]


class Corpus(NamedTuple):
    folder: Path
    data_dir: Path
    clips: set[str]
    full_songs: set[str]
    labels: dict[str, tuple[np.ndarray, np.ndarray]]  # times (T,) and values (T, V), nan: none


class Version(NamedTuple):
    """A protocol's songs as they came out of the shards: {split: {song id: example}}."""

    options: dict
    report: dict
    splits: dict[str, dict[str, dict]]


@pytest.fixture(scope="module", params=["made", "real"])
def corpus(request, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp(request.param)
    if request.param == "made":
        labels, sizes = write_made_labels(tmp_path / "labels"), {"clips": 13, "full_songs": 3}
    elif "DAMFF_REAL_DATA" in os.environ:
        labels = Path(os.environ["DAMFF_REAL_DATA"]) / REAL_LABELS
        sizes = {"clips": 40, "full_songs": 6}
    else:
        pytest.skip("DAMFF_REAL_DATA is not set, so only made-up labels are tried")
    folder = tmp_path / "deam"
    ids = make_corpus(labels, folder, **sizes, sample_rate=16_000, workers=2)
    clips = {song_id for song_id in ids if int(song_id) <= 2000}
    assert (len(clips), len(ids)) == (sizes["clips"], sum(sizes.values()))
    expected = {song_id: expected_labels(folder, song_id) for song_id in ids}
    return Corpus(folder, tmp_path / "data", clips, set(ids) - clips, expected)


def write_made_labels(folder):
    """Labels of 20 clips, some of MediaEval 2015's, and 4 full songs, as the release writes them.

    Clip 3 lacks a label inside, full song 2002 has more of arousal than of valence.
    """
    folder.mkdir()
    ids = [2, *sorted(map(int, mediaeval2015_ids()))[:15], 1601, 1700, 1800, 2000]
    lengths = dict.fromkeys(ids, 6) | {2001: 30, 2002: 20, 2003: 16, 2004: 12}
    for v, name in enumerate(FILES):
        rows = [["song_id", *(f"sample_{15_000 + 500 * i}ms" for i in range(40))]]
        for song_id, n in lengths.items():
            n += 3 * (song_id == 2002) * v
            curve = 0.9 * np.sin(song_id + v + 0.3 * np.arange(n))
            cells = [f"{x:.6f}" for x in curve] + [""] * (40 - n)
            if (song_id, v) == (3, 0):
                cells[2] = ""
            rows.append([str(song_id), *cells])
        text = "".join(",".join(row) + "\r\n" for row in rows)
        (folder / name).write_bytes(text.encode())
    return folder


def expected_labels(folder, song_id):
    curves = []
    for name in FILES:
        with open(folder / LABELS / name, newline="") as file:
            header, *rows = csv.reader(file)
        [row] = [row for row in rows if row[0] == song_id]
        times_ms = np.array(
            [name.removeprefix("sample_").removesuffix("ms") for name in header[1:]]
        )
        curve = np.full(2000, np.nan)
        curve[times_ms.astype(int) // 500] = [float(cell) if cell else np.nan for cell in row[1:]]
        curves.append(curve)
    values = np.stack(curves, axis=1)
    there = [np.flatnonzero(~np.isnan(curve)) for curve in curves]
    info = soundfile.info(folder / AUDIO / f"{song_id}.mp3")
    end = min(there[0][-1] + 1, there[1][-1] + 1, int(2 * info.duration))
    span = np.arange(max(there[0][0], there[1][0]), end)
    return 0.5 * span, values[span]


def flags_of(corpus, options):
    values = {"dataset": "deam", "workers": 1, **options}
    values |= {"manual_dir": corpus.folder, "data_dir": corpus.data_dir}
    values |= {f"features.{knob}": value for knob, value in FEATURES.items()}
    return ["--require_all", *(f"--{name}={value}" for name, value in values.items())]


def build(corpus, options):
    """Runs the command that builds a version of the data set; gives its builder."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert prepare.main(flags_of(corpus, options)) == 0
    verb, folder = out.getvalue().splitlines()[0].split(": ")
    assert verb == "built"
    return tfds.builder_from_directory(folder)


def examples_of(builder):
    return {
        split: {e["song_id"].decode(): e for e in tfds.as_numpy(builder.as_dataset(split))}
        for split in builder.info.splits
    }


@pytest.fixture(scope="module")
def versions(corpus):
    """Both protocols and ten folds."""
    built = []
    for options in VERSIONS:
        builder = build(corpus, options)
        built.append(Version(options, builder.info.metadata["report"], examples_of(builder)))
    return built


# The corpus --------------------------------------------------------------------------------------


def test_the_corpus_holds_the_traps(corpus, versions):
    report = versions[0].report
    assert report["left_out"] == {}
    notes = {reason: set(songs) for reason, songs in report["notes"].items()}
    [short] = notes["labels past the end of the audio, cut off"]
    assert short == max(corpus.clips, key=int)
    assert notes["labels missing inside the curve, masked"] >= {"3"}
    uneven = notes["valence and arousal of unequal length, common span kept"]
    assert uneven & corpus.full_songs and uneven & corpus.clips


def test_the_same_arguments_give_the_same_files(tmp_path):
    labels = write_made_labels(tmp_path / "labels")
    for name, workers in (("one", 1), ("two", 2)):
        make_corpus(
            labels, tmp_path / name, clips=3, full_songs=1, sample_rate=16_000, workers=workers
        )
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    assert len(files) == 4 + 2
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


# Preparing ---------------------------------------------------------------------------------------


def test_every_song_is_in_the_split_that_the_protocol_says(corpus, versions):
    for options, _, splits in versions[:2]:
        clips = corpus.clips
        if options["protocol"] == "mediaeval2015":
            clips = clips & mediaeval2015_ids()
        n_validation = max(1, round(0.1 * len(clips)))
        assert splits["test"].keys() == corpus.full_songs
        assert len(splits["validation"]) == n_validation
        assert splits["train"].keys() == clips - splits["validation"].keys()
        assert len(splits["train"]) == len(clips) - n_validation


def test_folds_share_no_test_song_and_test_every_clip(corpus, versions):
    folds = versions[2:]
    tested = [song_id for version in folds for song_id in version.splits["test"]]
    assert sorted(tested) == sorted(corpus.clips)
    n_clips = len(corpus.clips)
    for _, _, splits in folds:
        n_test = len(splits["test"])
        assert n_test in (n_clips // N_FOLDS, -(-n_clips // N_FOLDS))
        assert len(splits["validation"]) == max(1, round(0.1 * (n_clips - n_test)))
        songs = [song_id for split in splits.values() for song_id in split]
        assert sorted(songs) == sorted(corpus.clips)


def test_shards_hold_the_labels_of_the_files(corpus, versions):
    for _, report, splits in versions:
        for split, examples in splits.items():
            n_segments = 0
            for song_id, example in examples.items():
                times, values = corpus.labels[song_id]
                np.testing.assert_array_equal(example["times"], times)
                np.testing.assert_array_equal(example["mask"], ~np.isnan(values))
                np.testing.assert_allclose(example["labels"], np.nan_to_num(values), atol=1e-7)
                assert example["log_mel"].shape == (len(times), 10, FEATURES["n_mels"])
                n_segments += len(times)
            counts = report["splits"][split]
            assert (counts["n_songs"], counts["n_segments"]) == (len(examples), n_segments)


def test_songs_have_the_same_features_in_all_versions_and_are_extracted_once(corpus, versions):
    first = {s: e for examples in versions[0].splits.values() for s, e in examples.items()}
    for version in versions[1:]:
        for examples in version.splits.values():
            for song_id, example in examples.items():
                np.testing.assert_array_equal(example["log_mel"], first[song_id]["log_mel"])
    files = [path for path in (corpus.data_dir / "feature_cache").rglob("*") if path.is_file()]
    assert len(files) == len(corpus.labels)


# Training and evaluation -------------------------------------------------------------------------


def few_steps(corpus, options):
    config = deam.get_config()
    config.num_train_steps = 2
    config.batch_size = config.data.eval_batch_size = 4
    config.features.update(FEATURES)
    config.model.update(channels=(2, 2, 4), hidden_size=4)
    config.data.update(crop_segments=20, overlap=5, workers=2)
    config.data.update(manual_dir=str(corpus.folder), data_dir=str(corpus.data_dir))
    config.data.options.update(options)
    return config


def assert_scored(corpus, workdir, song_ids):
    """The evaluation is of every segment of these songs, against the labels of the files."""
    with open(workdir / "predictions_test.csv") as file:
        rows = list(csv.DictReader(file))
    expected = [
        (song_id, time, *truth)
        for song_id in sorted(song_ids, key=int)
        for time, truth in zip(*corpus.labels[song_id], strict=True)
    ]
    assert [row["song_id"] for row in rows] == [song_id for song_id, *_ in expected]
    columns = ("time_s", "valence_true", "arousal_true")
    np.testing.assert_allclose(
        [[float(row[column]) for column in columns] for row in rows],
        [numbers for _, *numbers in expected],
        rtol=0,
        atol=1e-6,
    )
    scores = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert (scores["n_songs"], scores["n_points"]) == (len(song_ids), len(expected))
    for dimension in ("valence", "arousal"):
        truth = np.array([float(row[f"{dimension}_true"]) for row in rows])
        error = np.array([float(row[dimension]) for row in rows]) - truth
        rmse = np.sqrt(np.nanmean(error**2))
        assert scores[dimension]["pooled"]["rmse"] == pytest.approx(rmse, rel=1e-6)


# Versions by their number: every protocol on real labels, two of them on made-up ones.
@pytest.mark.parametrize(
    ("corpus", "n"),
    [("made", 0), ("made", 11), ("real", 0), ("real", 1), ("real", 2), ("real", 11)],
    indirect=["corpus"],
)
def test_a_run_scores_the_test_songs_of_its_protocol(corpus, versions, tmp_path, n):
    train.run(few_steps(corpus, versions[n].options), tmp_path)
    assert_scored(corpus, tmp_path, versions[n].splits["test"])


@pytest.mark.parametrize("corpus", ["real"], indirect=True)
def test_train_prepares_trains_and_scores_by_itself(corpus, versions, tmp_path):
    """As a user gives the command, for a version that is not built yet."""
    knobs = {"num_train_steps": 2, "batch_size": 4, "model.channels": (2, 2, 4)}
    knobs |= {f"features.{name}": value for name, value in FEATURES.items()}
    knobs |= {"model.hidden_size": 4, "data.crop_segments": 20, "data.overlap": 5}
    knobs |= {"data.options.protocol": "mediaeval2015_cross_validation", "data.options.fold": 1}
    knobs |= {"data.options.n_folds": 3, "data.eval_batch_size": 4}
    command = [sys.executable, "train.py", "--config=configs/deam.py", f"--workdir={tmp_path}"]
    knobs |= {"data.manual_dir": corpus.folder, "data.data_dir": corpus.data_dir}
    command += [f"--config.{name}={value}" for name, value in knobs.items()]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    with open(tmp_path / "predictions_test.csv") as file:
        tested = {row["song_id"] for row in csv.DictReader(file)}
    clips = corpus.clips & mediaeval2015_ids()
    assert len(tested) in (len(clips) // 3, -(-len(clips) // 3)) and tested < clips
    assert_scored(corpus, tmp_path, tested)


def test_killed_build_goes_on(corpus, versions, tmp_path):
    """Kill -9 in the middle: what was extracted is kept, and the shards come out the same."""
    killed = corpus._replace(data_dir=tmp_path / "data")
    code = f"""
import os, signal
from input_pipeline import base, prepare
add, done = base.MelMoments.add, []
def add_or_die(self, log_mel):
    done.append(add(self, log_mel))
    if len(done) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
base.MelMoments.add = add_or_die
prepare.main({flags_of(killed, VERSIONS[0])})
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=300)
    assert result.returncode == -9
    files = [path for path in (killed.data_dir / "feature_cache").rglob("*") if path.is_file()]
    assert len(files) == 7
    kept = {path: path.stat().st_mtime_ns for path in files}
    again = examples_of(build(killed, VERSIONS[0]))
    assert kept == {path: path.stat().st_mtime_ns for path in files}
    for split, examples in versions[0].splits.items():
        assert again[split].keys() == examples.keys()
        for song_id, example in examples.items():
            np.testing.assert_array_equal(again[split][song_id]["log_mel"], example["log_mel"])
