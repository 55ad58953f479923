"""The command that builds data sets: what it prints, what it leaves, and its exit status."""

import collections
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from damff_jax import audio
from damff_jax.features import FeatureConfig, log_mel_blocks, segments
from damff_jax.report.pages import data_page
from input_pipeline import datasets
from input_pipeline.annotations import read_labels
from input_pipeline.corpus import AudioFile
from input_pipeline.prepare import main

PIPELINE = Path(__file__).parents[2] / "input_pipeline"
# Small features, for speed.
FEATURES = {"sample_rate": 16_000, "n_fft": 512, "win_length": 512, "hop_length": 320, "n_mels": 16}
CONFIG = FeatureConfig(**FEATURES)


@pytest.fixture
def manual_dir(tmp_path):
    """A copy of the folder data set's dummy data, to change."""
    return shutil.copytree(PIPELINE / "folder" / "dummy_data", tmp_path / "manual")


@pytest.fixture
def prepare(tmp_path, capsys):
    """Runs the command on the folder data set; returns status, standard output and error."""

    def run(*arguments, dataset="folder", manual_dir=tmp_path / "manual"):
        flags = [f"--features.{name}={value}" for name, value in FEATURES.items()]
        flags += [f"--dataset={dataset}", f"--data_dir={tmp_path / 'data'}", "--workers=1"]
        if manual_dir is not None:
            flags.append(f"--manual_dir={manual_dir}")
        try:
            status = main([*flags, *arguments])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return run


def files_below(folder):
    """Files of shards and manifests, without the feature cache, the lock and the report."""
    files = (path for path in folder.rglob("*") if path.is_file())
    others = (".lock", "report.html")
    return sorted(p for p in files if "feature_cache" not in p.parts and p.name not in others)


def examples_of(out):
    """{song id: example} of the data set that the command built, and its info."""
    folder = out.splitlines()[0].split(": ")[1]
    builder = tfds.builder_from_directory(folder)
    parts = collections.defaultdict(list)
    for record in builder.as_data_source(split="songs"):
        parts[record.pop("song_id").decode()].append(record)
    examples = {
        song_id: {name: np.concatenate([record[name] for record in records]) for name in records[0]}
        for song_id, records in parts.items()
    }
    return examples, builder.info


def replace_in(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# Building ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "line", "last"),
    [
        (
            "deam",
            "left out: 1 × labels without audio: 12",
            "3 songs done, 0 failed, 1 left out (12)",
        ),
        ("mer1101", "", "4 songs done, 0 failed, 0 left out"),
        ("folder", "", "4 songs done, 0 failed, 0 left out"),
    ],
)
def test_dummy_data_are_built_with_a_report(prepare, dataset, line, last):
    manual_dir = PIPELINE / dataset / "dummy_data"
    status, out, err = prepare(dataset=dataset, manual_dir=manual_dir)
    assert (status, err) == (int("1 left out" in last), "")
    assert out.splitlines()[-1] == last
    assert out.startswith("built: ") and line in out
    for split in ("train", "validation", "test"):
        assert f"\n  {split}" in out


def test_second_call_finds_the_data_set_built_and_reports_it_again(prepare, manual_dir):
    (manual_dir / "songs" / "song 1.ogg").unlink()
    _, out, _ = prepare()
    before = {path: path.stat().st_mtime_ns for path in files_below(manual_dir.parent / "data")}
    status, again, err = prepare()
    assert (status, err) == (1, "")
    assert again == "already " + out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_data_report_shows_songs_labels_and_what_was_left_out(prepare, manual_dir):
    (manual_dir / "songs" / "song 1.ogg").unlink()
    _, out, _ = prepare()
    folder = Path(out.splitlines()[0].split(": ")[1])
    assert f"report: {folder / 'report.html'}" in out.splitlines()
    page = (folder / "report.html").read_text()
    examples, info = examples_of(out)
    assert (
        f"{len(examples)} songs with {sum(len(e['mask']) for e in examples.values())} seg" in page
    )
    reason = '<th scope="row"><bdi>labels without audio</bdi></th><td>left out</td><td>1</td>'
    assert reason in page and "song 1" in page
    report = info.metadata["report"]
    for song_id, example in examples.items():
        first_s, n_valence, n_arousal, *numbers = report["labels"][song_id]
        columns = [example["labels"][example["mask"][:, v], v] for v in range(2)]
        assert (first_s, n_valence, n_arousal) == (example["times"][0], *map(len, columns))
        expected = [*(x.mean() for x in columns), *(x.std() for x in columns)]
        np.testing.assert_allclose(numbers, expected, atol=1e-6)
    n_both = sum(e["mask"].all(axis=1).sum() for e in examples.values())
    assert np.sum(report["plane"]) == n_both > 0


def test_without_its_report_a_data_set_is_complete(prepare, manual_dir, monkeypatch):
    def fail(path, facts):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(data_page, "write", fail)
    status, out, err = prepare()
    assert status == 0 and len(examples_of(out)[0]) == 4
    assert err.startswith("prepare: warning: ") and "report.html was not written: " in err


def test_shards_hold_the_features_and_labels_of_every_song(prepare, manual_dir):
    _, out, _ = prepare()
    examples, _ = examples_of(out)
    labels = read_labels(manual_dir).labels
    assert examples.keys() == labels.keys()
    for song_id, example in examples.items():
        source = AudioFile(str(manual_dir / "songs" / f"{song_id}.ogg"))
        frames = np.concatenate(list(log_mel_blocks(source.blocks(CONFIG.sample_rate), CONFIG)))
        expected = segments(frames, CONFIG)[:8]
        np.testing.assert_allclose(example["log_mel"], expected, rtol=0, atol=0.0315)
        np.testing.assert_array_equal(example["labels"], labels[song_id].values_TxV)
        assert example["mask"].all()
        np.testing.assert_array_equal(example["times"], 0.5 * np.arange(8, dtype=np.float32))


def test_shards_of_an_earlier_version_are_mentioned(prepare, manual_dir):
    folder = Path(prepare()[1].splitlines()[0].removeprefix("built: "))
    old = folder.rename(folder.with_name("2.0.0"))
    status, out, err = prepare()
    assert (status, err) == (0, "")
    first, second, *_ = out.splitlines()
    assert first == f"built: {folder}"
    assert second == f"  of an earlier version, not read any more: {old}"


def test_changed_labels_are_built_again(prepare, manual_dir):
    prepare()
    replace_in(manual_dir / "valence.csv", "0.0000", "0.9875")
    status, out, _ = prepare()
    assert status == 0 and out.startswith("built: ")
    examples, _ = examples_of(out)
    assert examples["song 0"]["labels"][0, 0] == np.float32(0.9875)


@pytest.mark.usefixtures("manual_dir")
def test_other_features_go_to_another_folder(prepare):
    _, first, _ = prepare()
    status, second, _ = prepare("--features.n_mels=17")
    assert status == 0 and second.startswith("built: ")
    assert first.splitlines()[0] != second.splitlines()[0]
    assert prepare()[1].startswith("already built: ")


def test_report_counts_irregularities(prepare, manual_dir):
    """A gap, an early end, labels past the audio, a song of one file, audio without labels."""
    path = manual_dir / "valence.csv"
    header, *rows = path.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    cells[0][4] = ""
    cells[1] = cells[1][:-2]
    path.write_text("\n".join([header, *(",".join(row) for row in cells[:3])]) + "\n")
    for name in ("valence.csv", "arousal.csv"):
        replace_in(manual_dir / name, "sample_3500ms", "sample_4000ms")
    status, out, _ = prepare("--features.n_mels=8")
    assert status == 1
    report = out.splitlines()[1:]
    assert "  left out: 1 × arousal labels only: song 3" in report
    assert "  left out: 1 × audio without labels: song 3" in report
    unequal = "valence and arousal of unequal length, common span kept"
    assert f"  note: 2 × {unequal}: song 0, song 1" in report
    gaps = "labels missing inside the curve, masked"
    assert f"  note: 3 × {gaps}: song 0, song 1, song 2" in report
    cut_off = next(line for line in report if "labels after the end of the audio, cut off" in line)
    assert set(cut_off.split(": ")[2].split(", ")) == {"song 0", "song 2"}
    examples, info = examples_of(out)
    np.testing.assert_array_equal(
        examples["song 0"]["mask"][:, 0], [True, True, True, False, True, True, True, False]
    )
    counts = info.metadata["report"]
    assert counts["n_songs"] == len(examples) == 3
    assert counts["n_segments"] == sum(len(e["mask"]) for e in examples.values())
    assert counts["n_labels"] == sum(e["mask"].sum() for e in examples.values())
    n_segments = {song_id: len(e["mask"]) for song_id, e in examples.items()}
    assert info.metadata["songs"] == n_segments


def test_song_that_ends_before_its_labels_begin_is_left_out(prepare, manual_dir):
    splits = "song 0,train\nsong 1,train\nsong 2,validation\nsong 3,test\n"
    (manual_dir / "splits.csv").write_text(splits)
    soundfile.write(manual_dir / "songs" / "song 1.ogg", np.zeros(4_000), 16_000)
    status, out, _ = prepare("--split_file=splits.csv")
    assert status == 1
    assert "  left out: 1 × no labelled segment within the audio: song 1" in out.splitlines()
    assert "note:" not in out
    assert examples_of(out)[0].keys() == {"song 0", "song 2", "song 3"}


def test_decoder_warnings_are_in_the_report(prepare, manual_dir):
    (manual_dir / "songs" / "song 0.ogg").unlink()
    path = manual_dir / "songs" / "song 0.wav"
    soundfile.write(path, np.zeros(6 * 16_000), 16_000)
    path.write_bytes(path.read_bytes()[: 5 * 2 * 16_000 + 44])
    status, out, _ = prepare()
    assert status == 0
    assert f"decoder warnings: {path}: 6.0 s declared, 5.0 s decoded" in out


def test_names_that_are_not_unicode_are_reported(prepare, manual_dir):
    source = manual_dir / "songs" / "song 3.ogg"
    shutil.copy(source, os.fsdecode(os.path.join(os.fsencode(manual_dir), b"\xff.ogg")))
    status, out, _ = prepare()
    assert status == 1
    assert r"audio without labels: \xff" in out
    assert out.splitlines()[-1] == r"4 songs done, 0 failed, 1 left out (\xff)"


# Splits ------------------------------------------------------------------------------------------


def test_a_split_without_a_song_in_the_data_set_is_refused_before_any_work(
    prepare, manual_dir, decoded
):
    (manual_dir / "songs" / "song 3.ogg").unlink()
    (manual_dir / "splits.csv").write_text("song 3,train\n")
    status, out, err = prepare("--split_file=splits.csv")
    assert (status, out) == (1, "")
    assert err.startswith("prepare: error: no song with audio is in the split FolderSplit(")
    assert err.count("\n") == 1 and "splits.csv" in err
    assert decoded == [] and files_below(manual_dir.parent / "data") == []
    # The same once the shards exist.
    assert prepare()[1].startswith("built: ")
    decoded.clear()
    assert prepare("--split_file=splits.csv") == (1, "", err)
    assert decoded == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("song 0,train\nsong 9,test\n", ":2: song song 9 has no labels"),
        ("song 0,tarin\n", ":1: not <song_id>,<train, validation, test>"),
        (None, ": No such file or directory"),
    ],
)
def test_a_bad_split_file_is_refused_before_any_work(prepare, manual_dir, decoded, text, reason):
    path = manual_dir / "splits.csv"
    if text is not None:
        path.write_text(text)
    status, out, err = prepare("--split_file=splits.csv")
    assert (status, out, err) == (1, "", f"prepare: error: {path}{reason}\n")
    assert decoded == [] and files_below(manual_dir.parent / "data") == []


def test_audio_is_required_only_of_songs_in_the_split(prepare, manual_dir):
    (manual_dir / "songs" / "song 2.ogg").unlink()
    (manual_dir / "without.csv").write_text("song 0,train\nsong 1,validation\nsong 3,test\n")
    (manual_dir / "with.csv").write_text("song 0,train\nsong 1,validation\nsong 2,test\n")
    missing = "prepare: error: 1 labelled songs have no audio: song 2\n"
    assert prepare("--require_all", "--split_file=with.csv") == (1, "", missing)
    status, out, err = prepare("--require_all", "--split_file=without.csv")
    assert (status, err) == (1, "") and out.startswith("built: ")
    # The same once the shards exist.
    assert prepare("--require_all", "--split_file=with.csv") == (1, "", missing)
    status, out, err = prepare("--require_all", "--split_file=without.csv")
    assert (status, err) == (1, "") and out.startswith("already built: ")
    status, out, err = prepare("--split_file=with.csv")
    assert (status, err) == (1, "") and out.startswith("already built: ")


# Audio that begins later than the song -----------------------------------------------------------


def cut_songs(manual_dir, first_s, last_s=None):
    """Cuts every song to these seconds, as wav."""
    for path in sorted((manual_dir / "songs").glob("*.ogg")):
        rate = soundfile.info(path).samplerate
        samples = audio.load(path, rate)
        last = None if last_s is None else round(last_s * rate)
        cut = samples[round(first_s * rate) : last]
        soundfile.write(path.with_suffix(".wav"), cut, rate, subtype="FLOAT")
        path.unlink()


@pytest.mark.parametrize(
    ("audio_start", "first", "n_before"), [(1.0, 2, 8), (1.3, 3, 12), (0.0501, 1, 4)]
)
def test_excerpts_have_the_features_and_labels_of_their_segments(
    prepare, manual_dir, audio_start, first, n_before
):
    whole, _ = examples_of(prepare()[1])
    cut_songs(manual_dir, audio_start, 3.4)
    status, out, err = prepare(f"--audio_start={audio_start}")
    assert (status, err) == (0, "")
    excerpts, info = examples_of(out)
    assert excerpts.keys() == whole.keys()
    n = 6 - first
    for song_id, example in excerpts.items():
        np.testing.assert_array_equal(example["times"], 0.5 * np.arange(first, 6))
        np.testing.assert_array_equal(example["labels"], whole[song_id]["labels"][first:6])
        ours, theirs = example["log_mel"], whole[song_id]["log_mel"][first:6]
        assert ours.shape == theirs.shape == (n, CONFIG.frames_per_segment, CONFIG.n_mels)
        # Except for the frames at the edges of the excerpt.
        ours, theirs = (x.reshape(-1, CONFIG.n_mels)[1:-1] for x in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.0315)
    report = info.metadata["report"]
    assert report["n_cut_off"] == {"before": n_before, "past": 8}
    assert report["seconds_of_songs"] == [first / 2, 3.0]
    assert report["n_segments"] == 4 * n
    lines = out.splitlines()
    assert (
        f"  all            4 songs  {4 * n:7d} segments  seconds {first / 2:g} to 3 of the songs"
    ) in lines
    assert f"  labelled segments cut off: {n_before} before the audio, 8 after its end" in lines
    names = "song 0, song 1, song 2, song 3"
    assert f"  note: 4 × labels before the start of the audio, cut off: {names}" in lines
    past = next(line for line in lines if "labels after the end of the audio, cut off" in line)
    assert sorted(past.split(": ")[2].split(", ")) == names.split(", ")


@pytest.mark.usefixtures("manual_dir")
def test_labels_cut_off_are_not_mentioned_if_there_are_none(prepare):
    _, out, _ = prepare()
    assert "cut off" not in out
    assert examples_of(out)[1].metadata["report"]["n_cut_off"] == {"before": 0, "past": 0}


@pytest.mark.usefixtures("manual_dir")
def test_another_start_goes_to_another_folder(prepare):
    folders = [prepare(f"--audio_start={x}")[1].splitlines()[0] for x in ("0", "1", "1.0", "1.5")]
    assert [line.startswith("built") for line in folders] == [True, True, False, True]
    assert len({line.split(": ")[1] for line in folders}) == 3


def test_excerpts_without_a_labelled_segment_are_left_out_by_name(prepare, manual_dir):
    """One shorter than a segment, one that ends before its labels begin, one with one segment."""
    for name in ("valence.csv", "arousal.csv"):
        path = manual_dir / name
        header, *rows = (line.split(",") for line in path.read_text().splitlines())
        rows[1][1:6] = [""] * 5  # Labels of song 1 begin at 2.5 s.
        path.write_text("".join(",".join(row) + "\n" for row in (header, *rows)))
    cut_songs(manual_dir, 1.3)
    for song_id, seconds in (("song 0", 0.6), ("song 1", 1.1), ("song 2", 0.7)):
        path = manual_dir / "songs" / f"{song_id}.wav"
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples[: round(seconds * rate)], rate, subtype="FLOAT")
    (manual_dir / "splits.csv").write_text("song 0,train\nsong 2,train\nsong 3,test\n")
    status, out, _ = prepare("--audio_start=1.3", "--split_file=splits.csv")
    assert status == 1
    examples, info = examples_of(out)
    assert {song_id: len(e["times"]) for song_id, e in examples.items()} == {
        "song 2": 1,
        "song 3": 5,
    }
    left_out = info.metadata["report"]["left_out"]["no labelled segment within the audio"]
    assert sorted(left_out) == ["song 0", "song 1"]
    assert "  left out: 2 × no labelled segment within the audio: " in out
    assert "  train          1 songs        1 segments" in out.splitlines()


@pytest.mark.parametrize("value", ["-1", "-0.001", "nan", "inf", "-inf", "1e308", "1e999"])
@pytest.mark.parametrize("dataset", ["folder", "deam", "mer1101"])
def test_an_invalid_start_is_refused_in_one_line(prepare, decoded, dataset, value):
    manual_dir = PIPELINE / dataset / "dummy_data"
    status, out, err = prepare(f"--audio_start={value}", dataset=dataset, manual_dir=manual_dir)
    assert (status, out) == (1, "")
    reason = f"audio_start: {float(value)} is not a time in seconds, 0 or later"
    assert err == f"prepare: error: {reason}\n"
    assert decoded == []


# Refusing ----------------------------------------------------------------------------------------


def bad_cell(folder):
    replace_in(folder / "valence.csv", ",0.", ",O.")
    return "valence.csv:2:2: 'O.0000' is not a number"


def bad_audio(folder):
    (folder / "songs" / "song 2.ogg").write_bytes(b"no sound " * 100)
    return "song 2.ogg: not readable as audio (Invalid data found when processing input)"


def no_labels(folder):
    (folder / "arousal.csv").unlink()
    return "arousal.csv: No such file or directory"


def two_files(folder):
    shutil.copy(folder / "songs" / "song 1.ogg", folder / "song 1.ogg")
    return "two audio files for song song 1"


@pytest.mark.parametrize("spoil", [bad_cell, no_labels, two_files])
def test_damaged_data_give_one_line_and_leave_nothing(prepare, manual_dir, spoil):
    reason = spoil(manual_dir)
    status, out, err = prepare()
    assert (status, out) == (1, "")
    assert err.startswith("prepare: error: ") and reason in err and err.count("\n") == 1
    assert files_below(manual_dir.parent / "data") == []


def test_command_itself_fails_in_one_line(manual_dir):
    reason = bad_audio(manual_dir)
    data_dir = manual_dir.parent / "data"
    flags = ["--dataset=folder", f"--manual_dir={manual_dir}", f"--data_dir={data_dir}"]
    result = subprocess.run(
        [sys.executable, "-m", "input_pipeline.prepare", *flags, "--workers=2", "--require_all"],
        cwd=PIPELINE.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"prepare: error: {manual_dir / 'songs'}/{reason}\n"
    assert files_below(data_dir) == []


# Songs that cannot be read -----------------------------------------------------------------------


def without_permission(folder):
    """The superuser may read any file, so this one is a link to nothing."""
    (folder / "songs" / "song 2.ogg").unlink()
    (folder / "songs" / "song 2.ogg").symlink_to("/nowhere")
    return "song 2.ogg: No such file or directory"


@pytest.mark.parametrize("spoil", [bad_audio, without_permission])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_build_goes_on_without_a_song_that_cannot_be_read(prepare, manual_dir, spoil, workers):
    reason = spoil(manual_dir)
    status, out, err = prepare(f"--workers={workers}")
    assert (status, err) == (1, "") and out.startswith("built: ")
    assert f"  failed: song 2: {manual_dir}/songs/{reason}" in out.splitlines()
    assert out.splitlines()[-1] == "3 songs done, 1 failed (song 2), 0 left out"
    examples, info = examples_of(out)
    assert examples.keys() == {"song 0", "song 1", "song 3"}
    assert info.metadata["report"]["failed"] == {"song 2": f"{manual_dir}/songs/{reason}"}
    assert "song 2" in info.metadata["labelled"]
    # Again, from the manifest.
    assert prepare() == (1, f"already {out}", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_song_that_cannot_be_read_ends_the_build_if_all_is_required(prepare, manual_dir, workers):
    reason = bad_audio(manual_dir)
    line = f"prepare: error: {manual_dir}/songs/{reason}\n"
    assert prepare("--require_all", f"--workers={workers}") == (1, "", line)
    assert files_below(manual_dir.parent / "data") == []
    # The same once the others are built.
    assert prepare()[1].startswith("built: ")
    assert prepare("--require_all") == (1, "", line)


def test_no_song_that_can_be_read_is_an_error(prepare, manual_dir):
    for path in (manual_dir / "songs").iterdir():
        path.write_bytes(b"no sound " * 100)
    status, out, err = prepare()
    assert (status, out) == (1, "") and err.count("\n") == 1
    assert "no song can be built; the first of 4: " in err and "song 0.ogg: not readable" in err
    assert files_below(manual_dir.parent / "data") == []


def test_training_goes_on_without_a_song_that_cannot_be_read(manual_dir, monkeypatch):
    bad_audio(manual_dir)
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, main(command[3:]))

    monkeypatch.setattr(datasets.subprocess, "run", run)
    options, split = datasets.make_settings("folder", {})
    settings = {
        "data_dir": manual_dir.parent / "data",
        "features": CONFIG,
        "options": options,
        "split": split,
        "workers": 1,
    }
    for _ in range(2):
        dataset = datasets.open_prepared("folder", manual_dir=str(manual_dir), **settings)
        assert sum(map(len, dataset.song_ids.values())) == 3
        assert len(commands) == 1


def test_many_names_are_in_the_manifest_if_not_in_the_last_line(prepare, manual_dir):
    for i in range(150):
        (manual_dir / "songs" / f"x{i:03d}.wav").touch()
    status, out, _ = prepare()
    folder = out.splitlines()[0].split(": ")[1]
    last = out.splitlines()[-1]
    assert status == 1 and ", 150 left out (x000, x001, " in last and "x099 and 50 more)" in last
    assert last.endswith(f", see {folder}/metadata.json")
    metadata = json.loads((Path(folder) / "metadata.json").read_text())
    assert len(metadata["report"]["left_out"]["audio without labels"]) == 150


# What was there at the last build ----------------------------------------------------------------


def test_other_sound_of_the_same_name_size_and_time_is_built_anew(prepare, manual_dir):
    """As with clips of one length in wav, whose files all have one size."""
    paths = [manual_dir / "songs" / f"song {i}.wav" for i in (0, 1)]
    for path in paths:
        path.with_suffix(".ogg").unlink()
        noise = np.random.default_rng(len(str(path.stem)) + int(path.stem[-1])).normal(
            0, 0.1, 64_000
        )
        soundfile.write(path, noise, 16_000)
    first, _ = examples_of(prepare()[1])
    assert prepare()[1].startswith("already built: ")
    before = paths[0].stat()
    shutil.copy(paths[1], paths[0])
    os.utime(paths[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = paths[0].stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    status, out, _ = prepare()
    assert status == 0 and out.startswith("built: ")
    second, _ = examples_of(out)
    assert np.array_equal(second["song 0"]["log_mel"], first["song 1"]["log_mel"])
    assert not np.array_equal(second["song 0"]["log_mel"], first["song 0"]["log_mel"])


def test_a_song_that_can_be_read_at_last_is_built(prepare, manual_dir):
    path = manual_dir / "songs" / "song 2.ogg"
    good = path.read_bytes()
    path.write_bytes(b"x" * len(good))
    assert prepare()[0] == 1
    path.write_bytes(good)
    status, out, _ = prepare()
    assert status == 0 and out.startswith("built: ")


def test_times_and_sound_that_no_song_uses_do_not_count(prepare, manual_dir):
    (manual_dir / "songs" / "other.wav").write_bytes(b"one")
    prepare()
    (manual_dir / "songs" / "other.wav").write_bytes(b"two")
    for path in manual_dir.rglob("*.*"):
        os.utime(path, ns=(1, 1))
    assert prepare()[1].startswith("already built: ")


# Names and folders -------------------------------------------------------------------------------


@pytest.mark.parametrize("in_labels", ["NFC", "NFD"])
def test_ids_and_file_names_match_whatever_their_unicode_form(prepare, manual_dir, in_labels):
    in_files = {"NFC": "NFD", "NFD": "NFC"}[in_labels]
    names = {"song 0": "é", "song 1": "Dvořák", "song 2": "한국 ẹ̈"}
    for old, new in names.items():
        for file in ("valence.csv", "arousal.csv"):
            replace_in(manual_dir / file, f"{old},", f"{unicodedata.normalize(in_labels, new)},")
        path = manual_dir / "songs" / f"{old}.ogg"
        path.rename(path.with_stem(unicodedata.normalize(in_files, new)))
    rows = [f"{unicodedata.normalize(in_files, name)},train\n" for name in names.values()]
    (manual_dir / "splits.csv").write_text("".join(rows))
    status, out, err = prepare("--split_file=splits.csv", "--require_all")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "4 songs done, 0 failed, 0 left out"
    composed = {unicodedata.normalize("NFC", name) for name in names.values()}
    assert examples_of(out)[0].keys() == composed | {"song 3"}


def test_two_files_whose_names_differ_in_their_unicode_form_are_refused(prepare, manual_dir):
    path = manual_dir / "songs" / "song 2.ogg"
    for form in ("NFC", "NFD"):
        shutil.copy(path, path.with_stem(unicodedata.normalize(form, "é")))
    status, out, err = prepare()
    assert (status, out) == (1, "") and "two audio files for song é: " in err


def test_linked_folders_are_searched(prepare, manual_dir):
    (manual_dir / "songs").rename(manual_dir.parent / "elsewhere")
    (manual_dir / "link").symlink_to("../elsewhere")
    (manual_dir / "link" / "back").symlink_to(manual_dir)
    status, out, _ = prepare()
    assert status == 0 and out.splitlines()[-1] == "4 songs done, 0 failed, 0 left out"


def test_a_folder_that_cannot_be_listed_is_left_out_by_name(prepare, manual_dir, monkeypatch):
    closed, scandir = os.fspath(manual_dir / "closed"), os.scandir
    (manual_dir / "closed").mkdir()
    (manual_dir / "songs" / "song 2.ogg").rename(manual_dir / "closed" / "song 2.ogg")

    def refuse(path):
        if path == closed:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    status, out, _ = prepare()
    assert status == 1
    line = f"  left out: 1 × folders that cannot be listed: {closed} (Permission denied)"
    assert line in out.splitlines()
    assert out.splitlines()[-1].endswith(f"2 left out (song 2, {closed} (Permission denied))")


def test_a_file_that_is_no_audio_by_its_name_is_noted_where_a_song_has_none(prepare, manual_dir):
    (manual_dir / "songs" / "song 2.ogg").rename(manual_dir / "songs" / "song 2.doc")
    status, out, _ = prepare()
    assert status == 1
    assert f"not audio by their names: {manual_dir}/songs/song 2.doc" in out


# Refusing before the work ------------------------------------------------------------------------


def test_splits_that_shall_be_evaluated_are_checked_before_the_work(prepare, manual_dir, decoded):
    splits = "song 0,train\nsong 1,train\nsong 2,train\n"
    (manual_dir / "splits.csv").write_text(splits)
    flags = "--split_file=splits.csv", "--needed_splits=validation,test"
    status, out, err = prepare(*flags)
    assert (status, out) == (1, "") and err.count("\n") == 1
    assert err.startswith("prepare: error: none of the splits validation, test, which shall be")
    assert "3 of 4 labelled songs have audio and are used, in train (3); add audio" in err
    assert err.endswith("--config.data.eval_splits=\"('train',)\"\n")
    assert decoded == [] and files_below(manual_dir.parent / "data") == []
    # The same once the shards exist; and one of them is enough.
    prepare("--split_file=splits.csv")
    assert prepare(*flags) == (1, "", err)
    (manual_dir / "splits.csv").write_text(splits.replace("2,train", "2,test"))
    assert prepare(*flags)[1].startswith("already built: ")


def test_six_clips_of_deam_are_refused_before_the_work(prepare, tmp_path, decoded):
    """Protocol `release` tests on the full songs."""
    folder = tmp_path / "deam"
    labels = folder / "annotations averaged per song" / "dynamic (per second annotations)"
    labels.mkdir(parents=True)
    (folder / "MEMD_audio").mkdir()
    rows = [f"{i},0.1,0.2\n" for i in (*range(2, 40), 2001, 2002)]
    for name in ("valence", "arousal"):
        text = "song_id,sample_0ms,sample_500ms\n" + "".join(rows)
        (labels / f"{name}.csv").write_text(text)
    for i in (2, 3, 4, 5, 7, 8):
        soundfile.write(folder / "MEMD_audio" / f"{i}.wav", np.zeros(32_000), 16_000)
    status, out, err = prepare("--needed_splits=test", dataset="deam", manual_dir=folder)
    assert (status, out, decoded) == (1, "", [])
    assert "none of the splits test, which shall be evaluated, has songs with audio: 6 of 40" in err


# A plan ------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_built_and_writes_nothing(prepare, manual_dir, decoded):
    (manual_dir / "songs" / "song 1.ogg").rename(manual_dir / "songs" / "other.ogg")
    without_permission(manual_dir)
    status, out, err = prepare("--dry_run")
    assert (status, err) == (1, "") and decoded == []
    assert not (manual_dir.parent / "data").exists()
    lines = out.splitlines()
    assert lines[0].startswith(f"would build: {manual_dir.parent}/data/folder/")
    assert f"  song 0: {manual_dir}/songs/song 0.ogg" in lines
    assert f"  failed: song 2: {manual_dir}/songs/song 2.ogg: cannot be read" in lines
    assert "  left out: 1 × labels without audio: song 1" in lines
    assert "  left out: 1 × audio without labels: other" in lines
    assert lines[-1] == "2 songs to build, 1 failed (song 2), 2 left out (song 1, other)"
    # And after the build.
    prepare()
    assert prepare("--dry_run")[1].splitlines()[0].startswith("already built: ")


def test_a_dry_run_refuses_what_a_build_would_refuse(prepare, manual_dir):
    bad_cell(manual_dir)
    status, out, err = prepare("--dry_run")
    assert (status, out) == (1, "") and "is not a number" in err
    assert not (manual_dir.parent / "data").exists()


def test_a_dry_run_of_a_complete_data_set_has_status_0(prepare, manual_dir):
    status, out, _ = prepare("--dry_run", "--require_all")
    assert status == 0
    assert out.splitlines()[-1] == "4 songs to build, 0 failed, 0 left out"


def test_a_dry_run_composes_no_songs(prepare, tmp_path):
    status, out, _ = prepare("--dry_run", dataset="synthetic", manual_dir=None)
    assert status == 0 and out.startswith("synthetic makes its songs by itself")
    assert not (tmp_path / "data").exists()


def test_missing_audio_is_an_error_if_all_is_required(prepare, manual_dir):
    (manual_dir / "songs" / "song 2.ogg").unlink()
    status, _, err = prepare("--require_all")
    assert status == 1
    assert err == "prepare: error: 1 labelled songs have no audio: song 2\n"
    assert files_below(manual_dir.parent / "data") == []


def test_data_set_is_built_after_a_failure(prepare, manual_dir):
    good = (manual_dir / "valence.csv").read_text()
    bad_cell(manual_dir)
    prepare()
    (manual_dir / "valence.csv").write_text(good)
    status, out, _ = prepare()
    assert status == 0 and len(examples_of(out)[0]) == 4


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded."""
    names = []
    stream = audio.stream

    def count(path, sample_rate):
        names.append(Path(path).name)
        return stream(path, sample_rate)

    monkeypatch.setattr(audio, "stream", count)
    return names


def test_build_resumes_where_another_one_was_interrupted(prepare, manual_dir, decoded):
    path = manual_dir / "songs" / "song 2.ogg"
    good = path.read_bytes()
    bad_audio(manual_dir)
    assert prepare("--require_all")[0] == 1
    before = set(decoded) - {path.name}
    decoded.clear()
    path.write_bytes(good)
    status, out, _ = prepare()
    assert status == 0 and len(examples_of(out)[0]) == 4
    assert before and before.isdisjoint(decoded) and len(before) + len(decoded) == 4


def test_shards_from_the_cache_are_those_of_a_first_build(prepare, manual_dir, decoded):
    _, out, _ = prepare()
    folder = Path(out.splitlines()[0].split(": ")[1])
    first = {path.name: path.read_bytes() for path in folder.glob("*.array_record*")}
    assert first and len(decoded) == 4
    for n_decoded, left in ((4, "feature_cache"), (8, "nothing")):
        shutil.rmtree(folder)
        if left == "nothing":
            shutil.rmtree(manual_dir.parent / "data" / "feature_cache")
        assert prepare()[1].startswith("built: ")
        assert len(decoded) == n_decoded
        assert {path.name: path.read_bytes() for path in folder.glob("*.array_record*")} == first


def test_another_split_builds_nothing(prepare, manual_dir, decoded):
    splits = "song 0,train\nsong 1,train\nsong 2,validation\n"
    (manual_dir / "splits.csv").write_text(splits)
    folder = prepare()[1].splitlines()[0].split(": ")[1]
    before = {path: path.stat().st_mtime_ns for path in files_below(manual_dir.parent / "data")}
    status, out, _ = prepare("--split_file=splits.csv")
    assert status == 0 and out.splitlines()[0] == f"already built: {folder}"
    for line in (
        "  all            4 songs       32 segments  seconds 0 to 4 of the songs",
        "  train          2 songs       16 segments",
        "  validation     1 songs        8 segments",
        "  in no split    1 songs",
    ):
        assert line in out.splitlines()
    # Nor does a changed split file.
    (manual_dir / "splits.csv").write_text(splits.replace("validation", "test"))
    status, out, _ = prepare("--split_file=splits.csv")
    assert status == 0 and out.splitlines()[0] == f"already built: {folder}"
    assert "  test           1 songs        8 segments" in out.splitlines()
    after = {path: path.stat().st_mtime_ns for path in files_below(manual_dir.parent / "data")}
    assert before == after and len(decoded) == 4


def test_missing_manual_dir_is_an_error_that_says_what_belongs_there(prepare):
    status, _, err = prepare(manual_dir=None)
    assert status == 1
    assert err.startswith("prepare: error: folder: needs --manual_dir. ") and err.count("\n") == 1
    assert "valence.csv, arousal.csv and the audio files" in err


def test_a_manual_dir_that_does_not_exist_is_wrong_usage(prepare):
    message = "prepare: error: /none/at all: No such file or directory\n"
    assert prepare(manual_dir="/none/at all") == (2, "", message)


def test_deam_without_its_folders_is_an_error(prepare, manual_dir):
    status, _, err = prepare(dataset="deam", manual_dir=manual_dir)
    assert (status, err) == (1, f"prepare: error: {manual_dir}: no folder MEMD_audio below it\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--colour=red"], "unrecognized arguments: --colour=red"),
        (["--dataset=none"], "unknown data set 'none'; available: deam, emopia, folder, mer1101"),
        (["--features.n_mels=0"], "features: n_mels and hop_length must be positive"),
        (["--features.n_mels=many"], "argument --features.n_mels: invalid int value: 'many'"),
        (["--features.hop_length=441"], "features.hop_length: 441 samples do not divide"),
        (["--low=none"], "argument --low: invalid float value: 'none'"),
        (["--workers=0"], "--workers must be positive"),
        (
            ["--needed_splits=dev"],
            "argument --needed_splits: 'dev' is not one of train, validation",
        ),
    ],
)
def test_bad_command_line_is_refused_with_status_2(prepare, manual_dir, arguments, reason):
    status, out, err = prepare(*arguments)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"prepare: error: {reason}")
    assert not (manual_dir.parent / "data").exists()


def test_data_set_is_needed(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "the following arguments are required: --dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "options"),
    [(["--dataset=vgmidi"], ["--n_folds", "--features.hop_length"]), ([], ["--data_dir"])],
)
def test_help_shows_the_data_sets_own_options(arguments, options, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert all(option in out for option in options)


def test_report_is_kept_with_the_shards(prepare, manual_dir):
    (manual_dir / "songs" / "song 1.ogg").unlink()
    _, out, _ = prepare()
    metadata = json.loads((Path(out.splitlines()[0].split(": ")[1]) / "metadata.json").read_text())
    assert metadata["report"]["left_out"] == {"labels without audio": ["song 1"]}
    assert FeatureConfig.from_json(metadata["features"]) == CONFIG


def test_two_builds_of_one_data_set_at_a_time_are_one(tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "input_pipeline.prepare", "--dataset=folder"]
    command += ["--manual_dir=input_pipeline/folder/dummy_data", f"--data_dir={tmp_path}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, cwd=root, **pipes) for _ in range(2)]
    outputs = sorted(process.communicate()[0].splitlines()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0].startswith("already built: ") and outputs[1].startswith("built: ")
