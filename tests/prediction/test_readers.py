"""Songs that several processes read ahead: the same as read by one process, in the same order."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from damff_jax.audio import AudioError, AudioWarning
from damff_jax.features import FeatureConfig
from damff_jax.prediction import readers

ROOT = Path(__file__).parents[2]
CONFIG = FeatureConfig(sample_rate=16_000, n_fft=2048, win_length=1600, hop_length=800, n_mels=64)


def write(path, seconds=2.0, *, seed=0, level=0.1):
    samples = np.random.default_rng(seed).normal(0, level, (round(seconds * 16_000), 2))
    soundfile.write(path, samples, 16_000)
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Files of all kinds, including a long one and bad ones."""
    folder = tmp_path_factory.mktemp("songs")
    names = ("a.wav", "b.flac", "c.ogg", "d.mp3", "e\n.wav")
    paths = [write(folder / name, 2 + i, seed=i) for i, name in enumerate(names)]
    paths[2:2] = [folder / "none.wav", write(folder / "long.wav", 300)]
    paths += [write(folder / "short.wav", 0.3), write(folder / "silent.wav", level=0)]
    paths += [write(folder / f"{i}.flac", 1 + i / 7, seed=i) for i in range(12)]
    os.truncate(write(folder / "cut.wav", 4.0), 80_000)
    return [*paths, (folder / "cut.wav").rename(folder / os.fsdecode(b"cut \xff.wav"))]


def taken(songs):
    """For each song its segments, or the text of its error, and its warnings."""
    result = []
    for song in songs:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AudioWarning)
            try:
                value = np.concatenate(list(song)).tobytes()
            except AudioError as error:
                value = str(error)
        result.append((value, [(w.category, str(w.message)) for w in caught]))
    return result


def children(of=None):
    """The running readers that a process, by default this one, has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            command = stat.with_name("cmdline").read_bytes()
        except OSError:  # It has just ended.
            continue
        # There may also be helper processes of earlier tests.
        if (
            int(parent) == (of or os.getpid())
            and state != "Z"
            and b"damff_jax.prediction.readers" in command
        ):
            found.append(int(stat.parent.name))
    return found


def all_end(pids, seconds=20):
    """Whether all of the processes have ended."""
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid):
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("n_readers", [1, 3])
def test_readers_give_the_bytes_errors_and_warnings_of_one_process(paths, strict, n_readers):
    alone = taken(readers.read_all(paths, CONFIG, strict=strict, n_readers=0))
    assert sum(isinstance(value, str) for value, _ in alone) == 2 + strict
    assert sum(bool(remarks) for _, remarks in alone) == 2 - strict
    together = taken(readers.read_all(iter(paths), CONFIG, strict=strict, n_readers=n_readers))
    assert together == alone
    assert not children()


def test_a_single_file_or_core_starts_no_process(paths, monkeypatch):
    expected = taken(readers.read(path, CONFIG) for path in paths[:3])
    monkeypatch.setattr(subprocess, "Popen", None)
    assert taken(readers.read_all(paths[:1], CONFIG, n_readers=2)) == expected[:1]
    monkeypatch.setattr(readers, "n_cores", lambda: 1)
    assert taken(readers.read_all(paths[:3], CONFIG)) == expected


def test_if_no_process_can_be_started_this_one_reads(paths, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError

    expected = taken(readers.read(path, CONFIG) for path in paths)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert taken(readers.read_all(paths, CONFIG, n_readers=2)) == expected


def test_a_reader_that_is_killed_costs_the_song_that_it_was_reading(paths):
    expected = taken(readers.read_all(paths, CONFIG, n_readers=0))
    long = [path.name for path in paths].index("long.wav")
    songs = readers.read_all(paths, CONFIG, n_readers=1)
    result = taken(next(songs) for _ in range(long))
    song = next(songs)
    next(song)
    (reader,) = children()
    os.kill(reader, signal.SIGKILL)  # The rest of this song does not fit into the pipe.
    with pytest.raises(AudioError) as error:
        list(song)
    assert str(error.value) == f"{paths[long]}: the process that read it has died (Killed)"
    assert [*result, expected[long], *taken(songs)] == expected
    assert not children()


def test_readers_wait_for_a_slow_consumer(paths):
    asked = []

    def endless():
        while True:
            asked.append(None)
            yield paths[3]  # Five minutes.

    songs = readers.read_all(endless(), CONFIG, n_readers=2)
    list(next(songs))
    next(next(songs))
    before = None
    while before != (before := [cpu_seconds(reader) for reader in children()]):
        time.sleep(0.5)
    assert len(before) == 2 and len(asked) <= 2 + 2 * readers._AHEAD
    assert max(map(peak_mb, children())) < 120
    songs.close()
    assert not children()


def test_readers_end_with_the_process_that_has_started_them(paths):
    code = (
        "import os, signal, sys; from damff_jax.prediction import readers;"
        "from tests.prediction import test_readers;"
        "songs = readers.read_all(sys.argv[1:], test_readers.CONFIG, n_readers=2);"
        "[list(next(songs)) for _ in range(3)]; print(*test_readers.children());"
        "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, *map(str, paths[3:4] * 9)]
    process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert process.returncode == -signal.SIGKILL
    pids = process.stdout.split()
    assert len(pids) == 2 and all_end(pids)


def test_a_script_without_a_main_guard_works(paths, tmp_path):
    script, elsewhere = tmp_path / "script.py", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "soxr.py").write_text("raise SystemError")
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from damff_jax.prediction import readers\n"
        "from tests.prediction.test_readers import CONFIG\n"
        "for song in readers.read_all(sys.argv[1:], CONFIG, n_readers=2):\n"
        "    print(sum(map(len, song)))\n"
    )
    command = [sys.executable, script, *map(str, paths[:2] * 3)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["4", "6"] * 3
