"""The tutorial's commands do what it says, with a few songs and steps."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[1]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
PAGE = (ROOT / "docs" / "tutorial.md").read_text()
N_SONGS, N_SEGMENTS = 12, 24


def make_songs(folder):
    """Noise that swells and fades, with its level as both ratings."""
    rng = np.random.default_rng(0)
    (folder / "audio").mkdir(parents=True)
    rows = ["song_id," + ",".join(f"sample_{500 * i}ms" for i in range(N_SEGMENTS))]
    for k in range(N_SONGS):
        level_T = np.sin(0.3 * np.arange(N_SEGMENTS) + k)
        envelope = np.repeat(10 ** (level_T - 1.5), 8000)
        soundfile.write(
            folder / f"audio/{k}.wav", envelope * rng.uniform(-1, 1, 12 * 16_000), 16_000
        )
        rows.append(f"{k}," + ",".join(f"{x:.3f}" for x in level_T))
    for name in ("valence", "arousal"):
        (folder / f"{name}.csv").write_text("\n".join(rows))


@pytest.mark.slow
def test_the_commands_of_the_tutorial_lead_to_a_model_and_its_curves(tmp_path):
    make_songs(tmp_path / "my_songs")
    (settings,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.S | re.M)
    # Four steps show that it trains.
    few = settings.replace("num_train_steps = 1000", "num_train_steps = 4")
    assert few != settings
    (tmp_path / "mine.py").write_text(few)
    commands = re.findall(r"^    (damff-.*)$", PAGE, flags=re.M)
    assert len(commands) == 6
    for command in commands:
        name, *arguments = shlex.split(command)
        module, _, function = SCRIPTS[name].partition(":")
        code = f"import sys; from {module} import {function}; sys.exit({function}())"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, (command, done.stderr)
    assert (tmp_path / "runs/mine/report.html").is_file()
    curves = {path.stem for path in (tmp_path / "curves").glob("*.csv")}
    assert curves == {"summary", *map(str, range(N_SONGS))}
    assert (tmp_path / "curves/index.html").is_file()
    assert (tmp_path / "exported/stablehlo/settings.json").is_file()
