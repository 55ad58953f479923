"""Completion of the commands, asked of bash and zsh themselves."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from damff_jax.system import completion
from tests.test_package import COMMANDS, ROOT

pytest.importorskip("shtab")

# Prints what bash offers for the last of the words.
ASK_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\) .*/\\1/') "$1" "${!#}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@functools.cache
def script(command, shell):
    run = f"import runpy; runpy.run_module({COMMANDS[command]!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", run, f"--print_completion={shell}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def offered(path, *words, cwd):
    command = ["bash", "-c", ASK_BASH, "ask", path, *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("predict", ["--plot_f"], {"--plot_format"}),
        ("predict", ["--plot_format", "s"], {"svg"}),
        ("predict", ["so"], {"song.mp3"}),
        ("predict", ["--output_dir", "c"], {"curves"}),
        ("prepare", ["--dataset", "v"], {"vgmidi"}),
        ("train", ["--config.optim.learning"], {"--config.optim.learning_rate"}),
        ("train", ["--mode", "e"], {"evaluate"}),
        ("train", ["--config", "fo"], {"folder"}),
        ("study", ["--config", "vg"], {"vgmidi"}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bash_completes(tmp_path, command, words, expected):
    (tmp_path / "song.mp3").touch()
    (tmp_path / "curves").mkdir()
    path = tmp_path / "completion"
    path.write_text(script(command, "bash"))
    assert offered(path, f"damff-{command}", *words, cwd=tmp_path) == expected


@pytest.mark.parametrize(
    ("command", "shell"),
    [*((command, "bash") for command in completion.COMMANDS), ("predict", "zsh"), ("train", "zsh")],
)
def test_every_command_has_a_script_that_the_shell_can_read(tmp_path, command, shell):
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    (tmp_path / "script").write_text(script(command, shell))
    subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_zsh_gets_the_choices_of_an_option():
    text = script("predict", "zsh")
    assert text.startswith("#compdef damff-predict\n") and ":(png svg pdf)" in text


def test_commands_are_the_scripts_of_the_package():
    scripts = (Path(ROOT) / "pyproject.toml").read_text().partition("[project.scripts]")[2]
    named = {line.split(" ")[0] for line in scripts.split("\n\n")[0].strip().splitlines()}
    assert named == {f"damff-{name}" for name in completion.COMMANDS}
