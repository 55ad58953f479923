"""The documentation's links, commands and examples are correct."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from damff_jax import configs
from damff_jax.features import FeatureConfig
from damff_jax.models.damff import DAMFF

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/damff-jax/damff_jax/"
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("input_pipeline/*/README.md"),
    *ROOT.glob("damff_jax/pretrained/*.md"),
]
OURS = ("damff_jax", "input_pipeline", "tests")
# The text before an example that needs files that a test does not have.
NEEDS = "<!-- needs "

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def links(page):
    """Targets of a page's links and images, outside of code."""
    text = re.sub(r"^```.*?^```|^    [^\n]*$", "", page.read_text(), flags=re.S | re.M)
    return re.findall(r"\]\(\s*<?([^)>\s]+)", text)


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_link_to_a_file_leads_to_one(page):
    for link in links(page):
        target, _, anchor = link.partition("#")
        inside = re.fullmatch(rf"{REPOSITORY}(?:blob|raw|tree)/main/(.*)", target)
        if target.startswith(("http:", "https:", "mailto:")) and not inside:
            continue
        path = ROOT / inside[1] if inside else (page.parent / target if target else page)
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path), link


def test_the_readme_has_no_link_that_breaks_on_an_index_page():
    assert all(link.startswith("https://") for link in links(ROOT / "README.md"))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_readme_has_its_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    begin = "    python3 -m venv .venv && .venv/bin/pip install -e "
    commands = [line for line in lines if line.startswith(begin)]
    assert [line.split("&& ")[-1] for line in commands] == [
        ".venv/bin/python train.py",
        ".venv/bin/python -m pytest -n auto --dist loadfile",
    ]


@each_page
def test_every_module_that_is_run_exists(page):
    for name in re.findall(r"python -m ([\w.]+)", page.read_text().replace("\n", " ")):
        if name.split(".")[0] in OURS:
            path = ROOT.joinpath(*name.split("."))
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


@each_page
def test_every_script_exists(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # A hyphen and a name, but not a part of a path, such as in a URL.
    named = re.findall(r"(?<![\w/])damff-(?!jax)\w+", page.read_text())
    assert set(named) <= set(project.get("scripts", {}))


@each_page
def test_every_config_exists(page):
    text = page.read_text()
    for name in re.findall(r"--config=([\w/.]+(?::\w+)?)", text):
        if name in ("NAME", "configs/X.py"):
            continue
        path, _, model = configs.path_of(name).partition(":")
        # Or the page itself shows the file.
        assert (ROOT / path).is_file() or f"`{path}`:\n\n```python" in text, name
        assert not model or model in configs.model_names(), name


def examples(page):
    """Python examples of a page: the text before each, and the code."""
    return re.findall(r"^([^\n]*)\n```python\n(.*?)^```", page.read_text(), flags=re.S | re.M)


@each_page
def test_every_example_in_python_is_python(page):
    for _, code in examples(page):
        ast.parse(code)


def test_the_examples_of_the_api_run(tmp_path):
    samples = 0.1 * np.random.default_rng(0).standard_normal(5 * 16_000)
    soundfile.write(tmp_path / "song.wav", samples, 16_000)
    page = ROOT / "docs" / "api.md"
    code = "".join(code for before, code in examples(page) if not before.startswith(NEEDS))
    (tmp_path / "examples.py").write_text(code)
    command = [sys.executable, "examples.py"]
    # Programs compiled here run only once.
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr


def test_the_figure_of_the_architecture_has_the_shapes_of_the_model():
    script = ROOT / "docs" / "architecture.py"
    spec = importlib.util.spec_from_file_location("architecture", script)
    architecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architecture)
    drawn = architecture.draw(DAMFF(axis_name=None), FeatureConfig())
    assert architecture.FIGURE.read_text() == drawn, "run python docs/architecture.py"


@pytest.mark.filterwarnings("ignore::damff_jax.audio.AudioWarning")  # It makes its own sound.
def test_the_notebook_runs(tmp_path, monkeypatch):
    notebook = json.loads((ROOT / "docs" / "curve.ipynb").read_text())
    assert (notebook["nbformat"], notebook["metadata"]["language_info"]["name"]) == (4, "python")
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in cells:
        if "to_dataframe" in code and importlib.util.find_spec("pandas") is None:
            continue
        exec(compile(code, "curve.ipynb", "exec"), names)
    assert np.abs(names["of_samples"].values - names["curve"].values).max() < 1e-3
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"song.csv", "song.json", "song.jams", "song.labels.txt", "song.svl"}
