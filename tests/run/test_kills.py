"""Builds and predictions that are killed or interrupted, in separate processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from input_pipeline.synthetic.composer import compose_song
from tests.prediction.test_readers import all_end, children

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
N_SONGS = 8


@pytest.fixture(scope="module")
def manual_dir(tmp_path_factory):
    """Songs with labels, each of which takes a while."""
    folder = tmp_path_factory.mktemp("manual")
    song = compose_song(0, duration_s=60.0, sample_rate=44_100)
    header = ",".join(["song_id", *(f"sample_{500 * i}ms" for i in range(120))])
    for i in range(N_SONGS):
        soundfile.write(folder / f"{i}.flac", song.samples[i:], 44_100)
    for name in ("valence.csv", "arousal.csv"):
        rows = [",".join([str(i), *["0.25"] * 120]) for i in range(N_SONGS)]
        (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder


def prepare(manual_dir, data_dir, *, workers=2):
    command = [sys.executable, "-m", "input_pipeline.prepare", "--dataset=folder"]
    command += [f"--manual_dir={manual_dir}", f"--data_dir={data_dir}", f"--workers={workers}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)


def shards_of(data_dir):
    return {path.name: path.read_bytes() for path in data_dir.glob("folder/*/*/*array_record*")}


def cached(data_dir):
    """Cached features: {path: time of change}."""
    files = (path for path in data_dir.glob("feature_cache/*/*") if path.suffix != ".tmp")
    return {path: path.stat().st_mtime_ns for path in files}


def left_behind(data_dir):
    return [*data_dir.rglob("*.tmp"), *data_dir.rglob("incomplete.*")]


def wait_until(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


def group_ends(process, seconds=20):
    """Whether all processes of the group have ended, workers for example."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def undisturbed(manual_dir, tmp_path_factory):
    """The shards of an undisturbed build by one worker."""
    data_dir = tmp_path_factory.mktemp("undisturbed")
    process = prepare(manual_dir, data_dir, workers=1)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert len(cached(data_dir)) == N_SONGS
    return shards_of(data_dir)


def test_killed_build_resumes_and_writes_the_same_shards(manual_dir, undisturbed, tmp_path):
    before = {}
    for n in (1, 4, N_SONGS):
        process = prepare(manual_dir, tmp_path)
        wait_until(lambda n=n: len(cached(tmp_path)) >= n, process)
        process.kill()
        process.communicate()
        assert group_ends(process)
        assert before.items() <= cached(tmp_path).items()
        before = cached(tmp_path)
    process = prepare(manual_dir, tmp_path)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "") and out.startswith("built: ")
    assert before and before.items() <= cached(tmp_path).items()
    assert shards_of(tmp_path) == undisturbed
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_build_says_so_in_one_line_and_leaves_nothing_half_written(
    manual_dir, tmp_path, workers, number
):
    process = prepare(manual_dir, tmp_path, workers=workers)
    wait_until(lambda: len(cached(tmp_path)) >= 2, process)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (128 + number, "")
    assert err == f"prepare: stopped by {number.name}; the next call resumes from here\n"
    assert left_behind(tmp_path) == [] and shards_of(tmp_path) == {}
    assert group_ends(process)


def predict(paths, output_dir):
    command = [sys.executable, "-m", "damff_jax.predict", *map(str, paths)]
    command += [f"--output_dir={output_dir}", "--plot", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_prediction_keeps_whole_curves_only(manual_dir, tmp_path, number):
    songs = sorted(manual_dir.glob("*.flac"))
    process = predict(songs, tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("*.csv"))) >= 2, process)
    readers = children(process.pid)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert all_end(readers)
    curves = list(tmp_path.glob("*.csv"))
    assert 2 <= len(curves) < N_SONGS
    assert process.returncode == 128 + number
    # The plot of the last one may be missing.
    stopped = rf"predict: stopped by {number.name}; (\d) of 8 files done, \d not reached; .*"
    n_done = int(re.fullmatch(stopped, err.splitlines()[-1])[1])
    assert n_done in (len(curves) - 1, len(curves))
    assert all(len(path.read_text().splitlines()) == 121 for path in curves)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(os.cpu_count() == 1, reason="a single core has no readers")
def test_killed_reader_is_an_error_of_one_line_that_names_its_song(manual_dir, tmp_path):
    process = predict(sorted(manual_dir.glob("*.flac")), tmp_path)
    wait_until(lambda: children(process.pid), process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = [line for line in err.splitlines() if ": error: " in line]
    died = r"predict: error: (.*\.flac): the process that read it has died \(Killed\)"
    failed = Path(re.fullmatch(died, line)[1])
    summary = f"predict: 7 of 8 files done, 1 failed; curves are in {tmp_path}"
    assert err.splitlines()[-1] == summary
    whole = sorted(path.stem for path in tmp_path.glob("*.csv"))
    assert whole == sorted({str(i) for i in range(N_SONGS)} - {failed.stem})


def test_composed_songs_that_a_killed_build_left_are_removed(tmp_path):
    command = [sys.executable, "-m", "input_pipeline.prepare", "--dataset=synthetic"]
    command += ["--n_clips=6", "--n_test=1", f"--data_dir={tmp_path}", "--workers=1"]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_until(lambda: list(tmp_path.glob("synthetic/songs-*.tmp/MEMD_audio/*")), process)
    process.kill()
    process.wait()
    assert left_behind(tmp_path)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert result.returncode == 0
    assert left_behind(tmp_path) == []
