"""Streams that lack characters, are closed, full, or read by nobody."""

import importlib
import io
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from damff_jax.system import terminal

ROOT = Path(__file__).parents[2]
# A command that prints more than a pipe holds, and works on after that.
COMMAND = """
import sys
from damff_jax.system.terminal import robust

@robust("command", result_is_printed=len(sys.argv) > 2)
def main():
    for i in range(20_000):
        print("é→", i)
    print("warning: \\udcff", file=sys.stderr, flush=True)
    with open(sys.argv[1], "w") as file:
        assert file.fileno() > 2
        file.write("done")
    return 0

sys.exit(main())
"""


def run(tmp_path, redirections, *arguments, **variables):
    """The status, what was printed in all, and whether the work was done."""
    script, done = tmp_path / "command.py", tmp_path / "done"
    script.write_text(COMMAND)
    line = f'set -o pipefail; "{sys.executable}" "{script}" "{done}" {" ".join(arguments)}'
    process = subprocess.run(
        ["bash", "-c", f"{line} {redirections}"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    return process.returncode, process.stdout + process.stderr, done.exists()


LOST = "command: warning: standard output is lost (No space left on device)\n"


@pytest.mark.parametrize(
    ("redirections", "shown"),
    [
        ("2>/dev/null | head -1", "é→ 0\n"),
        ("2>&1 | head -1", "é→ 0\n"),
        (">/dev/full", f"{LOST}warning: \\udcff\n"),
        (">/dev/full 2>&1", ""),
        ("2>/dev/full | tail -1", "é→ 19999\n"),
        (">&-", "warning: \\udcff\n"),
        ("2>&- | tail -1", "é→ 19999\n"),
        ("<&- >&- 2>&-", ""),
        ("<&- 2>/dev/null | tail -1", "é→ 19999\n"),
    ],
)
def test_a_lost_stream_ends_no_command_and_leaves_no_traceback(tmp_path, redirections, shown):
    assert run(tmp_path, redirections) == (0, shown, True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252:strict"])
def test_characters_that_an_encoding_lacks_are_escaped(tmp_path, encoding):
    status, shown, done = run(tmp_path, "| tail -1", PYTHONIOENCODING=encoding)
    assert status == 0 and done
    assert "\\u2192 19999\n" in shown and "warning: \\udcff\n" in shown


def test_a_command_whose_result_is_printed_fails_if_it_is_lost(tmp_path):
    assert run(tmp_path, ">/dev/full", "result") == (1, f"{LOST}warning: \\udcff\n", True)
    # A reader that has left has read what it wanted.
    assert run(tmp_path, "2>/dev/null | head -1", "result") == (0, "é→ 0\n", True)


def test_streams_are_as_before_after_a_command(capsys):
    before = sys.stdout, sys.stderr, sys.stdout.errors
    assert terminal.robust("command")(lambda: len(sys.stdout.encoding))() > 0
    with pytest.raises(KeyError):
        terminal.robust("command")(lambda: {}["x"])()
    assert (sys.stdout, sys.stderr, sys.stdout.errors) == before


def test_a_stream_that_is_no_file_is_used_as_it_is(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    assert terminal.robust("command")(lambda: print("→") or 3)() == 3
    assert stream.getvalue() == "→\n"


@pytest.mark.parametrize(
    ("term", "shows"), [("xterm", True), ("dumb", False), (None, True)], ids=str
)
def test_a_dumb_terminal_shows_no_progress(monkeypatch, term, shows):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    assert terminal.is_interactive() is shows


def test_every_command_has_robust_streams():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for place in {*scripts.values(), "damff_jax.lag:main", "damff_jax.band:main"}:
        module, _, name = place.partition(":")
        assert hasattr(getattr(importlib.import_module(module), name), "__wrapped__"), place
