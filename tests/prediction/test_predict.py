"""The command that predicts, with bad files and full disks."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from damff_jax import audio, predict, weights
from damff_jax.evaluation.familiarity import Profile
from damff_jax.features import log_mel, segments
from damff_jax.report.folder import Folder
from damff_jax.run.checkpoint import CheckpointError
from tests.prediction.test_weights import FEATURES, META, small_state

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights of a small model that was never trained."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    variables = small_state().eval_variables()
    weights.save(path, variables, {**META, "step": 0, "score": None})
    return path


def write(path, seconds=2.0, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000))
    soundfile.write(path, samples, 16_000)
    return path


@pytest.fixture
def command(checkpoint, tmp_path, capsys):
    """Runs the command; returns its status, standard output and error."""

    def run(*arguments):
        try:
            argv = [*map(str, arguments), f"--checkpoint={checkpoint}"]
            status = predict.main([*argv, f"--output_dir={tmp_path / 'curves'}"])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return run


def test_a_folder_with_bad_files_gives_the_curves_of_the_good_ones(command, tmp_path):
    good = [write(tmp_path / "in" / f"{i % 7}" / f"{i}.flac", seed=i) for i in range(180)]
    bad = [tmp_path / "in" / f"{i % 5}" / f"bad {i}.mp3" for i in range(20)]
    for i, path in enumerate(bad):
        path.write_bytes((b"", b"no sound " * 99, good[i].read_bytes()[:60])[i % 3])
    status, out, err = command(tmp_path / "in")
    assert status == 1
    assert out.count("\n") == 180
    errors = [line for line in err.splitlines() if line.startswith("predict: error: ")]
    assert sorted(line.split(": ")[2] for line in errors) == sorted(map(str, bad))
    folder = tmp_path / "curves"
    assert err.splitlines()[-1] == (
        f"predict: 180 of 200 files done, 20 failed; curves are in {folder}"
    )
    curves = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    assert curves == {f"{i % 7}/{i}.csv" for i in range(180)}
    for name in ("0/0.csv", "4/179.csv"):
        table = np.loadtxt(tmp_path / "curves" / name, delimiter=",", skiprows=1)
        assert table.shape == (4, 3) and np.isfinite(table).all()


def test_silence_has_a_finite_curve_and_a_warning(command, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(32_000), 16_000)
    status, _, err = command(path)
    assert status == 0
    assert f"predict: warning: {path}: low energy, at most -100 dB" in err
    table = np.loadtxt(tmp_path / "curves/a.csv", delimiter=",", skiprows=1)
    assert table.shape == (4, 3) and np.isfinite(table).all()


@pytest.fixture(scope="module")
def with_profile(checkpoint):
    """The same weights, with a profile of noise as training songs, and a lag of 0.4 s."""
    f, m = FEATURES.frames_per_segment, FEATURES.n_mels
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, rng.uniform(0.01, 0.3), 10 * FEATURES.sample_rate) for _ in range(110)]
    songs = [segments(log_mel(np.float32(x), FEATURES), FEATURES) for x in noise]
    assert songs[0].shape == (20, f, m)
    variables, meta = weights.load(checkpoint)
    variables[weights.PROFILE] = Profile.of_songs(songs).arrays()
    path = checkpoint.with_name("profile.safetensors")
    weights.save(path, variables, {**meta, "lag_s": 0.4})
    return path


def test_input_unlike_the_training_songs_is_reported_in_a_warning_json_and_page(
    with_profile, tmp_path, capsys
):
    write(tmp_path / "like.wav", seconds=25.0)
    t = np.arange(25 * 16_000) / 16_000
    soundfile.write(tmp_path / "unlike.wav", 0.5 * np.sin(2 * np.pi * 440 * t), 16_000)
    argv = [str(tmp_path / "like.wav"), str(tmp_path / "unlike.wav"), "--json", "--html"]
    assert predict.main([*argv, f"--checkpoint={with_profile}", f"--output_dir={tmp_path}"]) == 0
    err = capsys.readouterr().err
    assert "unlike.wav: unlike the training songs" in err
    assert "/like.wav: unlike" not in err
    told = {
        name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("like", "unlike")
    }
    assert told["like"]["unlikeness"] < 1.1 < told["unlike"]["unlikeness"]
    assert told["like"]["lag_s"] == 0.4
    pages = {name: (tmp_path / f"{name}.html").read_text() for name in told}
    assert all("lags 0.4 s behind the sound" in page for page in pages.values())
    assert "Unlike the training" in pages["unlike"] and "Unlike the training" not in pages["like"]


def test_weights_without_a_profile_give_no_warning_about_the_input(command, tmp_path):
    write(tmp_path / "a.wav")
    status, _, err = command(tmp_path / "a.wav", "--json")
    assert status == 0 and "unlike" not in err
    told = json.loads((tmp_path / "curves" / "a.json").read_text())
    assert told["unlikeness"] is None and told["lag_s"] is None


def test_each_flag_writes_the_format_that_the_curve_gives(command, checkpoint, tmp_path):
    path = write(tmp_path / "a.wav")
    flags = ["--json", "--jams", "--audacity", "--sv"]
    status, _, _ = command(path, *flags)
    assert status == 0
    curve = predict.Predictor(checkpoint)(path)
    for extension, text in {
        ".csv": curve.to_csv(),
        ".json": curve.to_json(),
        ".jams": curve.to_jams(),
        ".labels.txt": curve.to_audacity(),
        ".svl": curve.to_sonic_visualiser(),
    }.items():
        assert (tmp_path / "curves" / f"a{extension}").read_text() == text


def test_a_band_is_added_to_the_csv_on_request_and_refused_without(command, tmp_path, capsys):
    path = write(tmp_path / "a.wav")
    status, _, err = command(path, "--band")
    assert status == 2 and err.endswith("small.safetensors has no band\n")
    assert predict.main([str(path), "--band", "--json", f"--output_dir={tmp_path}"]) == 0
    header, row, *_ = (tmp_path / "a.csv").read_text().splitlines()
    assert header == "time_s,valence,arousal,valence_low,valence_high,arousal_low,arousal_high"
    _, valence, arousal, *limits = map(float, row.split(","))
    assert -1 <= limits[0] < valence < limits[1] <= 1
    assert -1 <= limits[2] < arousal < limits[3] <= 1
    band = json.loads((tmp_path / "a.json").read_text())["band"]
    assert band["level"] == 0.8
    assert [band["low"][0][0], band["high"][0][0]] == limits[:2]


def test_truncated_file_fails_only_if_strict(command, tmp_path):
    path = write(tmp_path / "a.wav", 4.0)
    os.truncate(path, 80_000)
    status, out, err = command(path)
    assert (status, out.count("\n")) == (0, 1)
    assert f"predict: warning: {path}: 4.0 s declared, 2.5 s decoded" in err
    status, out, err = command(path, "--strict")
    assert (status, out) == (1, "")
    assert f"predict: error: {path}: 4.0 s declared, 2.5 s decoded" in err


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_left_out_is_named_and_makes_status_1(command, tmp_path, monkeypatch):
    find = audio.find

    def find_and_warn(folder):
        yield from find(folder)
        warnings.warn(f"{folder}/b.mid: left out", audio.AudioWarning, stacklevel=1)

    monkeypatch.setattr(audio, "find", find_and_warn)
    write(tmp_path / "in" / "a.wav")
    (tmp_path / "empty").mkdir()
    status, out, err = command(tmp_path / "in", tmp_path / "empty")
    assert (status, out.count("\n")) == (1, 1)
    assert f"predict: left out: {tmp_path}/in/b.mid: left out\n" in err
    assert f"predict: left out: {tmp_path}/empty: no audio files in this folder\n" in err
    summary = f"predict: 1 of 1 files done, 3 left out; curves are in {tmp_path}/curves\n"
    assert err.endswith(summary)


def test_existing_curves_are_skipped_on_request(command, tmp_path):
    for name in ("in/a.wav", "in/b/a.wav", "in/c.wav"):
        write(tmp_path / name)
    assert command(tmp_path / "in")[0] == 0
    before = {name: (tmp_path / "curves" / name).stat().st_mtime_ns for name in ("a.csv", "c.csv")}
    (tmp_path / "curves/b/a.csv").unlink()
    status, out, err = command(tmp_path / "in", "--skip_existing")
    assert (status, out.count("\n")) == (0, 1) and "in/b/a.wav -> b/a.csv" in out
    assert "predict: 1 of 3 files done, 2 skipped, because their curves exist; curves are" in err
    for name, time in before.items():
        assert (tmp_path / "curves" / name).stat().st_mtime_ns == time
    # A file is there only if all that was requested is.
    status, out, _ = command(tmp_path / "in", "--skip_existing", "--json")
    assert (status, out.count("\n")) == (0, 3)
    assert command(tmp_path / "in", "--skip_existing", "--json")[:2] == (0, "")


def test_without_anything_to_do_no_model_is_loaded(command, tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav")
    assert command(path)[0] == 0
    monkeypatch.setattr(weights, "load", None)
    assert command(path, "--skip_existing")[0] == 0


@pytest.mark.parametrize("separator", [b"\0", b"\n", b"\r\n"])
def test_a_list_of_files_is_read_from_standard_input(command, tmp_path, monkeypatch, separator):
    names = [b"a b.wav", b"\xff.wav", "é.wav".encode(), b"-.wav"]
    sound = write(tmp_path / "sound.wav").read_bytes()
    paths = [tmp_path / os.fsdecode(name) for name in names]
    for path in paths:
        path.write_bytes(sound)
    content = separator.join([os.fsencode(path) for path in paths]) + separator
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    status, out, _ = command("-")
    assert (status, out.count("\n")) == (0, 4)
    assert files_in(tmp_path / "curves") == sorted(os.fsdecode(n[:-4]) + ".csv" for n in names)


def test_a_list_that_names_nothing_is_wrong_usage(command, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n\n")))
    status, out, err = command("-")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "the list names no files" in err


def test_a_missing_file_among_others_fails_alone(command, tmp_path):
    write(tmp_path / "a.wav")
    status, out, err = command(tmp_path / "a.wav", tmp_path / "none.wav")
    assert (status, out.count("\n")) == (1, 1)
    assert f"predict: error: {tmp_path}/none.wav: No such file or directory\n" in err
    assert "predict: 1 of 2 files done, 1 failed; " in err


@pytest.mark.slow
def test_curves_are_complete_whatever_becomes_of_the_output(checkpoint, tmp_path):
    for i in range(3):
        write(tmp_path / "in" / f"→{i}.wav", seed=i)
    for number, (redirections, variables) in enumerate(
        [
            (">&- 2>&-", {}),
            (">/dev/full 2>/dev/full", {"TERM": "dumb", "HOME": "/dev/null"}),
            ("2>/dev/null | head -1", {"PYTHONIOENCODING": "ascii"}),
        ]
    ):
        folder = tmp_path / str(number)
        line = (
            f"set -o pipefail; {sys.executable} -m damff_jax.predict {tmp_path}/in "
            f"--checkpoint={checkpoint} --output_dir={folder} {redirections}"
        )
        process = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, env=os.environ | variables, capture_output=True
        )
        assert process.returncode == 0 and b"Traceback" not in process.stderr
        assert files_in(folder) == [f"→{i}.csv" for i in range(3)]


def test_name_that_would_act_on_a_terminal_is_shown_in_one_line(command, tmp_path):
    path = write(tmp_path / "a\nb\x1b[2J.flac")
    status, out, err = command(path, tmp_path / "no\nne.wav")
    assert status == 1
    assert out.splitlines()[0].startswith(rf"{tmp_path}/a\nb\x1b[2J.flac -> ")
    assert rf"{tmp_path}/no\nne.wav: No such file" in err


def test_full_disk_is_an_error_of_one_line_and_leaves_nothing_half_written(
    command, files_up_to, tmp_path
):
    # The curve of two minutes takes 7 kB, that of two seconds fits.
    paths = write(tmp_path / "long.flac", 120), write(tmp_path / "short.flac")
    command(paths[1], "--html")  # Compiles before the disk is full.
    with files_up_to(3_000):
        status, out, err = command(*paths)
    assert status == 1 and out.count("\n") == 1 and "short.csv" in out
    (error,) = [line for line in err.splitlines() if ": error: " in line]
    assert error.startswith("predict: error: ") and "File too large" in error
    assert str(tmp_path / "curves" / "long.csv") in error
    assert sorted(os.listdir(tmp_path / "curves")) == ["short.csv", "short.html"]


def test_folder_that_cannot_be_written_is_known_before_the_work(command, tmp_path, monkeypatch):
    path = write(tmp_path / "a.flac")
    monkeypatch.setattr(os, "access", lambda *_: False)  # Root could write anywhere.
    status, out, err = command(path)
    assert (status, out) == (2, "")
    assert err == f"predict: error: [Errno 13] Permission denied: '{tmp_path / 'curves'}'\n"


def test_file_instead_of_the_folder_is_an_error(command, tmp_path):
    (tmp_path / "curves").write_text("")
    status, _, err = command(write(tmp_path / "a.flac"))
    assert status == 2 and err.startswith("predict: error: ") and err.count("\n") == 1


def test_folder_gets_an_index_of_its_songs_and_failures(command, tmp_path):
    for name in ("a.wav", "sub/b.wav", "index.wav"):
        write(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    status, _, err = command(tmp_path / "in", "--html", "--embed_audio")
    assert status == 1 and "3 of 4 files done" in err, err
    with open(tmp_path / "curves" / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == 3 * ["done"] + ["failed"]
    assert rows[-1]["remarks"] == f"{tmp_path}/in/bad.wav: the file is empty"
    pages = [row["page"] for row in rows[:3]]
    assert sorted(pages) == ["a.html", "index.wav.html", "sub/b.html"]
    index = (tmp_path / "curves" / "index.html").read_text()
    for page in pages:
        assert f'href="./{page}"' in index
        text = (tmp_path / "curves" / page).read_text()
        assert "data:audio/wav;base64," in text and "data:image/png;base64," in text


def test_index_has_the_songs_of_earlier_runs(command, tmp_path):
    for name in ("a.wav", "b.wav"):
        write(tmp_path / "in" / name)
    command(tmp_path / "in" / "a.wav", "--html")
    assert not (tmp_path / "curves" / "index.html").exists()
    assert command(tmp_path / "in", "--html", "--skip_existing")[0] == 0
    with open(tmp_path / "curves" / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["page"], row["status"]) for row in rows) == [
        ("a.html", "done"), ("b.html", "done"),
    ]  # fmt: skip
    curve = np.loadtxt(tmp_path / "curves" / "a.csv", delimiter=",", skiprows=1)
    (kept,) = [row for row in rows if row["page"] == "a.html"]
    assert float(kept["arousal_mean"]) == pytest.approx(curve[:, 2].mean(), abs=1e-4)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_run_has_an_index_of_the_songs_that_are_done(
    command, tmp_path, monkeypatch, number, status
):
    for name in "abc":
        write(tmp_path / "in" / f"{name}.wav")
    real = Folder.add

    def add(folder, curve, name):
        real(folder, curve, name)
        if name == "b":
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Folder, "add", add)
    stopped, _, err = command(tmp_path / "in", "--html")
    assert stopped == status and f"stopped by {number.name}; " in err
    with open(tmp_path / "curves" / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert rows[2]["remarks"].endswith(f"c.wav: not reached, because {number.name} ended the run")
    index = (tmp_path / "curves" / "index.html").read_text()
    assert 'href="./b.html"' in index and "ended the run" in index


def test_run_that_is_stopped_before_its_first_song_leaves_the_index(command, tmp_path, monkeypatch):
    for name in "ab":
        write(tmp_path / "in" / f"{name}.wav")
    command(tmp_path / "in", "--html")
    index = (tmp_path / "curves" / "index.html").read_bytes()

    def stop(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("damff_jax.prediction.output.write", stop)
    assert command(tmp_path / "in", "--html")[0] == 143
    assert (tmp_path / "curves" / "index.html").read_bytes() == index


def test_page_links_its_song(command, tmp_path):
    assert command(write(tmp_path / "a.wav"), "--html")[0] == 0
    assert 'src="./../a.wav"' in (tmp_path / "curves" / "a.html").read_text()


def test_embedded_audio_needs_a_page(command, tmp_path):
    status, _, err = command(write(tmp_path / "a.wav"), "--embed_audio")
    assert status == 2 and err.startswith("predict: error: --embed_audio needs --html")


@pytest.mark.parametrize("length", [100, 2**31, 2**62, 2**64 - 1])
def test_weights_with_an_endless_header_are_refused(tmp_path, length):
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b'{"a":1}')
    with pytest.raises(CheckpointError, match=r"a\.safetensors: not weights of this program"):
        weights.load(path)


def test_weights_with_deeply_nested_metadata_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    monkeypatch.setattr(json, "dumps", lambda *_, **__: "[" * 10**5)
    weights.save(path, {"params": {"x": np.zeros(1)}}, META)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"a\.safetensors: not weights of this program"):
        weights.load(path)


def peak_mb(paths, checkpoint, output_dir):
    """Peak resident memory of the command, in a separate process, and of its largest reader."""
    code = (
        "import resource, sys; from damff_jax import predict; status = predict.main(sys.argv[1:]);"
        "who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN;"
        "print(*(resource.getrusage(x).ru_maxrss / 1024 for x in who)); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *paths, f"--checkpoint={checkpoint}"]
    command += [f"--output_dir={output_dir}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return np.array(result.stdout.splitlines()[-1].split(), float)


def write_long(path, minutes):
    """Stereo noise, written minute by minute."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 16_000, 2) as file:
        for _ in range(minutes):
            file.write(rng.integers(-9999, 9999, (60 * 16_000, 2), np.int16))
    return path


@pytest.mark.slow
def test_memory_for_three_hours_is_that_for_ten_minutes(checkpoint, tmp_path):
    peaks = []
    for minutes in (10, 180):
        # One for the process itself, and one for a reader.
        paths = write_long(tmp_path / f"{minutes}.wav", minutes), tmp_path / f"{minutes} again.wav"
        os.link(*paths)
        peaks.append(peak_mb(paths, checkpoint, tmp_path))
    for name in ("180.csv", "180 again.csv"):
        assert len((tmp_path / name).read_text().splitlines()) == 1 + 180 * 120
    short, long = peaks
    assert np.all(long < 1.1 * short)
