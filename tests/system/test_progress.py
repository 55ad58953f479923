"""Progress is shown on terminals, after two seconds, and apart from other lines."""

import sys

import numpy as np
import pytest
import soundfile

from damff_jax.prediction.file_progress import FileProgress
from damff_jax.system import progress
from damff_jax.system.progress import Progress, aside


@pytest.fixture
def terminal(monkeypatch, capsys):
    """Gives what was printed so far on a terminal."""
    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    return lambda: capsys.readouterr().err


def test_a_bar_shows_the_share_that_is_done_and_goes_at_the_end(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)
    with Progress("reading", 8) as shown:
        shown.reach(2)
        shown.refresh()
    text = terminal()
    assert "reading  25 % |" in text and " left" in text
    assert not text.rpartition("\r")[0].rpartition("\r")[2].strip()


def test_short_work_shows_nothing(terminal):
    with Progress("reading", 8) as shown:
        shown.reach(4)
        with aside():
            print("line", file=sys.stderr)
    assert terminal().replace("\r", "").strip() == "line"


def test_a_line_has_its_own_place_above_the_bar(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)
    with Progress("reading", 8), aside():
        print("a line", file=sys.stderr)
    lines = terminal().split("\n")
    assert lines[0].endswith("\ra line") and "reading" in lines[1]


def test_without_a_terminal_nothing_is_shown(capsys):
    with Progress("reading", 8) as shown:
        shown.reach(8)
    assert not shown.is_shown and capsys.readouterr() == ("", "")


def test_files_count_by_their_size_and_long_ones_by_the_second(tmp_path, terminal):
    paths = [str(tmp_path / f"{i}.wav") for i in range(3)]
    for path, seconds in zip(paths, (4, 8, 4), strict=True):
        soundfile.write(path, np.zeros(seconds * 8000), 8000)
    size = (tmp_path / "0.wav").stat().st_size
    reached = []
    with FileProgress([*paths, str(tmp_path / "missing.wav")]) as shown:
        shown.reach = reached.append
        shown.hear(paths[0], 2)
        shown.hear(paths[1], 2)
        shown.hear(paths[1], 9)
    assert np.allclose(np.divide(reached, size), [0.5, 1.5, 3], atol=0.01)
