"""DEAM from label files and mp3 to scores, by all its protocols.

Once on random labels, and once on those of the release if DAMFF_REAL_DATA names the folder that
holds them; the audio is composed from the labels (see make_deam_corpus.py). Expected values are
computed from the files using only csv and numpy.
"""

import collections
import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

import train
from damff_jax.audio import load
from damff_jax.configs import deam
from input_pipeline import datasets, prepare
from input_pipeline.deam.settings import mediaeval2015_ids
from tests.make_deam_corpus import AUDIO, FILES, LABELS, make_corpus

ROOT = Path(__file__).parents[2]
REAL_LABELS = Path("deam", *LABELS.parts[1:])
N_FOLDS = 10
FEATURES = {"sample_rate": 16_000, "n_fft": 512, "win_length": 512, "hop_length": 800, "n_mels": 16}
FOLDS = [{"protocol": "cross_validation", "fold": fold} for fold in range(N_FOLDS)]
SOME = {"protocol": "mediaeval2015_cross_validation", "fold": 1, "n_folds": 3}
SPLITS = [{"protocol": "release"}, {"protocol": "mediaeval2015"}, *FOLDS, SOME]


class Corpus(NamedTuple):
    folder: Path
    data_dir: Path
    clips: set[str]
    full_songs: set[str]
    labels: dict[str, tuple[np.ndarray, np.ndarray]]  # times (T,) and values (T, V), nan: none


class Version(NamedTuple):
    """A split's songs as read from the shards: {split: {song id: example}}."""

    options: dict
    out: list[str]  # What the command prints.
    splits: dict[str, dict[str, dict]]


class Built(NamedTuple):
    """The shards, and what is in them by every split of `SPLITS`."""

    folder: Path
    report: dict
    examples: dict[str, dict]
    versions: list[Version]


@pytest.fixture(scope="module", params=["made", "real"])
def corpus(request, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp(request.param)
    if request.param == "made":
        labels, sizes = write_made_labels(tmp_path / "labels"), {"clips": 13, "full_songs": 3}
    elif "DAMFF_REAL_DATA" in os.environ:
        labels = Path(os.environ["DAMFF_REAL_DATA"]) / REAL_LABELS
        sizes = {"clips": 40, "full_songs": 6}
    else:
        pytest.skip("DAMFF_REAL_DATA is not set, so only random labels are tested")
    folder = tmp_path / "deam"
    ids = make_corpus(labels, folder, **sizes, sample_rate=16_000, workers=2)
    clips = {song_id for song_id in ids if int(song_id) <= 2000}
    assert (len(clips), len(ids)) == (sizes["clips"], sum(sizes.values()))
    expected = {song_id: expected_labels(folder, song_id) for song_id in ids}
    return Corpus(folder, tmp_path / "data", clips, set(ids) - clips, expected)


def write_made_labels(folder):
    """Labels of 20 clips, some of MediaEval 2015's, and 4 full songs, in the release's form.

    Clip 3 has a gap in its labels, and full song 2002 more arousal than valence labels.
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
    values |= {f"features.{name}": value for name, value in FEATURES.items()}
    return ["--require_all", *(f"--{name}={value}" for name, value in values.items())]


def build(corpus, options):
    """Runs the command that builds the data set; returns the lines that it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert prepare.main(flags_of(corpus, options)) == 0
    return out.getvalue().splitlines()


def examples_of(folder):
    parts = collections.defaultdict(list)
    for record in tfds.builder_from_directory(folder).as_data_source("songs"):
        parts[record.pop("song_id").decode()].append(record)
    return {
        song_id: {name: np.concatenate([record[name] for record in records]) for name in records[0]}
        for song_id, records in parts.items()
    }


def files_of(folder):
    """The files and when they were written, apart from the report, which shows one split."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "report.html")
    return {path: path.stat().st_mtime_ns for path in paths}


@pytest.fixture(scope="module")
def built(corpus):
    """All protocols, and ten folds of one of them."""
    first, *others = (build(corpus, options) for options in SPLITS)
    verb, folder = first[0].split(": ")
    assert verb == "built"
    for out in others:
        assert out[0] == f"already built: {folder}"
    folder, versions = Path(folder), []
    examples = examples_of(folder)
    for options, out in zip(SPLITS, [first, *others], strict=True):
        song_ids = open_dataset(corpus, options).song_ids
        splits = {name: {s: examples[s] for s in ids} for name, ids in song_ids.items()}
        versions.append(Version(options, out, splits))
    report = json.loads((folder / "metadata.json").read_text())["report"]
    return Built(folder, report, examples, versions)


@pytest.fixture(scope="module")
def versions(built):
    return built.versions


def open_dataset(corpus, options):
    with contextlib.redirect_stdout(io.StringIO()):
        return datasets.open_configured(few_steps(corpus, options))


# The corpus --------------------------------------------------------------------------------------


def test_the_corpus_holds_the_traps(corpus, built):
    report = built.report
    assert report["left_out"] == {}
    notes = {reason: set(songs) for reason, songs in report["notes"].items()}
    [short] = notes["labels after the end of the audio, cut off"]
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
    folds = versions[2:-1]
    tested = [song_id for version in folds for song_id in version.splits["test"]]
    assert sorted(tested) == sorted(corpus.clips)
    n_clips = len(corpus.clips)
    for _, _, splits in folds:
        n_test = len(splits["test"])
        assert n_test in (n_clips // N_FOLDS, -(-n_clips // N_FOLDS))
        assert len(splits["validation"]) == max(1, round(0.1 * (n_clips - n_test)))
        songs = [song_id for split in splits.values() for song_id in split]
        assert sorted(songs) == sorted(corpus.clips)


def test_folds_of_mediaeval2015_have_only_its_clips(corpus, versions):
    clips = corpus.clips & mediaeval2015_ids()
    splits = versions[-1].splits
    assert sorted(song_id for split in splits.values() for song_id in split) == sorted(clips)
    assert len(splits["test"]) in (len(clips) // 3, -(-len(clips) // 3))


def test_shards_hold_the_labels_of_the_files(corpus, built):
    assert built.examples.keys() == corpus.labels.keys()
    for song_id, example in built.examples.items():
        times, values = corpus.labels[song_id]
        np.testing.assert_array_equal(example["times"], times)
        np.testing.assert_array_equal(example["mask"], ~np.isnan(values))
        np.testing.assert_allclose(example["labels"], np.nan_to_num(values), atol=1e-7)
        assert example["log_mel"].shape == (len(times), 10, FEATURES["n_mels"])
    n_segments = sum(len(times) for times, _ in corpus.labels.values())
    assert (built.report["n_songs"], built.report["n_segments"]) == (
        len(corpus.labels),
        n_segments,
    )


def test_songs_and_segments_of_every_split_are_printed(corpus, versions):
    for version in versions:
        n_outside = len(corpus.labels)
        for name, examples in version.splits.items():
            n_segments = sum(len(corpus.labels[song_id][0]) for song_id in examples)
            line = f"  {name:<10} {len(examples):5d} songs  {n_segments:7d} segments"
            assert line in version.out
            n_outside -= len(examples)
        outside = [f"  in no split {n_outside:4d} songs"] if n_outside else []
        assert [line for line in version.out if "in no split" in line] == outside


def test_all_protocols_and_folds_share_one_set_of_shards(corpus, built):
    """Fourteen ways to split the songs take the disk space of one."""
    folders = [path for path in corpus.data_dir.glob("deam/*/*") if path.is_dir()]
    assert folders == [built.folder]
    [shard] = built.folder.glob("*array_record*")
    size = sum(example["log_mel"].nbytes for example in built.examples.values())
    # ArrayRecord pads a file to blocks of 64 KiB.
    assert size < shard.stat().st_size < 1.5 * size + 2**17
    before = files_of(corpus.data_dir)
    for options in SPLITS:
        assert build(corpus, options)[0].startswith("already built: ")
    assert files_of(corpus.data_dir) == before


def test_songs_have_the_same_features_in_all_splits_and_are_extracted_once(corpus, built):
    for options in SPLITS[::4]:
        dataset = open_dataset(corpus, options)
        for name in dataset.song_ids:
            for song in dataset.load(name):
                example = built.examples[song.song_id]
                np.testing.assert_array_equal(song.log_mel_TxFxM, example["log_mel"])
                np.testing.assert_array_equal(song.labels_TxV, example["labels"])
                np.testing.assert_array_equal(song.times_T, example["times"])
    files = [path for path in (corpus.data_dir / "feature_cache").rglob("*") if path.is_file()]
    assert len(files) == len(corpus.labels)


# Training and evaluation -------------------------------------------------------------------------


def few_steps(corpus, options, model="damff"):
    config = deam.get_config(model)
    config.num_train_steps = 2
    config.batch_size = config.data.eval_batch_size = 4
    config.features.update(FEATURES)
    if model == "damff":
        config.model.update(channels=(2, 2, 4), branches="a", hidden_size=4)
    config.data.update(crop_segments=20, overlap=5, workers=2)
    config.data.update(manual_dir=str(corpus.folder), data_dir=str(corpus.data_dir))
    config.data.options.update(options)
    return config


def assert_scored(corpus, workdir, song_ids):
    """Checks that every segment of these songs is evaluated, against the labels of the files."""
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


# Splits by their number: every protocol on real labels, two on random ones.
@pytest.mark.parametrize(
    ("corpus", "n"),
    [("made", 0), ("made", 11), *(("real", n) for n in (0, 1, 2, 11, 12))],
    indirect=["corpus"],
)
def test_a_run_scores_the_test_songs_of_its_protocol(corpus, versions, tmp_path, n):
    train.run(few_steps(corpus, versions[n].options), tmp_path)
    assert_scored(corpus, tmp_path, versions[n].splits["test"])


@pytest.mark.parametrize("corpus", ["real"], indirect=True)
def test_train_prepares_trains_and_scores_by_itself(corpus, tmp_path):
    """As a user runs the command, before there are shards."""
    settings = {"num_train_steps": 2, "batch_size": 4, "model.channels": (2, 2, 4)}
    settings |= {f"features.{name}": value for name, value in FEATURES.items()}
    settings |= {"model.hidden_size": 4, "data.crop_segments": 20, "data.overlap": 5}
    settings |= {"data.options.protocol": "mediaeval2015_cross_validation", "data.options.fold": 1}
    settings |= {"data.options.n_folds": 3, "data.eval_batch_size": 4}
    command = [sys.executable, "train.py", "--config=configs/deam.py", f"--workdir={tmp_path}/run"]
    settings |= {"data.manual_dir": corpus.folder, "data.data_dir": tmp_path / "data"}
    command += [f"--config.{name}={value}" for name, value in settings.items()]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    with open(tmp_path / "run" / "predictions_test.csv") as file:
        tested = {row["song_id"] for row in csv.DictReader(file)}
    clips = corpus.clips & mediaeval2015_ids()
    assert len(tested) in (len(clips) // 3, -(-len(clips) // 3)) and tested < clips
    assert_scored(corpus, tmp_path / "run", tested)


def test_killed_build_resumes(corpus, built, tmp_path):
    """Kill -9 in the middle: what was extracted is kept, and the shards come out the same."""
    killed = corpus._replace(data_dir=tmp_path / "data")
    code = f"""
import os, signal
from input_pipeline import base, prepare
add, done = base.BuildReport.add, []
def add_or_die(self, song, labels, features):
    done.append(add(self, song, labels, features))
    if len(done) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
base.BuildReport.add = add_or_die
prepare.main({flags_of(killed, SPLITS[0])})
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=300)
    assert result.returncode == -9
    files = [path for path in (killed.data_dir / "feature_cache").rglob("*") if path.is_file()]
    assert len(files) == 7
    kept = {path: path.stat().st_mtime_ns for path in files}
    folder = Path(build(killed, SPLITS[0])[0].removeprefix("built: "))
    assert kept == {path: path.stat().st_mtime_ns for path in files}
    [shard], [undisturbed] = (x.glob("*array_record*") for x in (folder, built.folder))
    assert shard.read_bytes() == undisturbed.read_bytes()


# Excerpts ----------------------------------------------------------------------------------------

PROTOCOLS = (
    {"protocol": "release"},
    {"protocol": "mediaeval2015"},
    {"protocol": "cross_validation", "fold": 4},
    SOME,
)


@pytest.fixture(scope="module", params=[16.0, pytest.param(15.7, marks=pytest.mark.slow)])
def excerpts(request, corpus, tmp_path_factory):
    """The corpus from a given second on, and the second."""
    tmp_path = tmp_path_factory.mktemp("excerpts")
    folder, audio_start = tmp_path / "deam", request.param
    shutil.copytree(corpus.folder / LABELS, folder / LABELS)
    (folder / AUDIO).mkdir(parents=True)
    for path in (corpus.folder / AUDIO).iterdir():
        samples = load(path, FEATURES["sample_rate"])[round(audio_start * 16_000) :]
        name = folder / AUDIO / f"{path.stem}.wav"
        soundfile.write(name, samples, FEATURES["sample_rate"], subtype="FLOAT")
    labels = {}
    for song_id, (times, values) in corpus.labels.items():
        end = audio_start + soundfile.info(folder / AUDIO / f"{song_id}.wav").duration
        heard = (times >= audio_start) & (times + 0.5 <= end)
        labels[song_id] = times[heard], values[heard]
    return corpus._replace(folder=folder, data_dir=tmp_path / "data", labels=labels), audio_start


def test_all_protocols_run_on_excerpts_of_the_songs(built, excerpts, tmp_path):
    cut, audio_start = excerpts
    folders = set()
    for number, options in enumerate(PROTOCOLS):
        lines = build(cut, {**options, "audio_start": audio_start})
        folders.add(lines[0].split(": ")[1])
        workdir = tmp_path / str(number)
        config = few_steps(cut, {**options, "audio_start": audio_start}, "ridge")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            scores = train.run(config, workdir)
        song_ids = open_dataset(cut, {**options, "audio_start": audio_start}).song_ids
        # The songs of every split are those of the whole songs.
        assert song_ids == open_dataset_of(built, options)
        assert_scored(cut, workdir, song_ids["test"])
        for name in ("validation", "test"):
            times = np.concatenate([cut.labels[song_id][0] for song_id in song_ids[name]])
            assert scores[name]["seconds"] == [times.min(), times.max() + 0.5]
            title = f"deam, {name} songs, seconds {times.min():g} to {times.max() + 0.5:g}: "
            assert title in out.getvalue()
    assert len(folders) == 1


def open_dataset_of(built, options):
    [version] = [v for v in built.versions if v.options == options]
    return {name: tuple(examples) for name, examples in version.splits.items()}


def test_excerpts_have_the_features_and_labels_of_the_same_seconds(built, excerpts):
    cut, audio_start = excerpts
    folder = Path(build(cut, {"audio_start": audio_start})[0].split(": ")[1])
    examples = examples_of(folder)
    assert examples.keys() == cut.labels.keys()
    for song_id, example in examples.items():
        times, values = cut.labels[song_id]
        np.testing.assert_array_equal(example["times"], times)
        np.testing.assert_allclose(example["labels"], np.nan_to_num(values), atol=1e-7)
        whole = built.examples[song_id]
        rows = np.searchsorted(whole["times"], times)
        ours, theirs = (x.reshape(-1, 16) for x in (example["log_mel"], whole["log_mel"][rows]))
        # Except for the frames at both edges.
        np.testing.assert_allclose(ours[1:-1], theirs[1:-1], rtol=0, atol=0.0315)
    report = json.loads((folder / "metadata.json").read_text())["report"]
    n_cut_off = sum(len(e["times"]) for e in built.examples.values()) - report["n_segments"]
    in_whole = built.report["n_cut_off"]["past"]
    assert sum(report["n_cut_off"].values()) == n_cut_off + in_whole
    assert report["n_cut_off"]["before"] == 2 * len(examples)
    ends = [example["times"][-1] + 0.5 for example in examples.values()]
    assert report["seconds_of_songs"] == [16.0, max(ends)]
