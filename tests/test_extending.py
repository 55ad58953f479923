"""The worked examples of docs/extending.md: each applied to a copy of the sources, and run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from damff_jax.prediction.predictor import Predictor

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "extending"
SOURCES = ("configs/", "damff_jax/", "input_pipeline/", "train.py", "tests/run/test_configs.py")
# Added lines and files of each diff, as docs/extending.md says; a data set may take 60 in 3.
SIZES = {"third_branch": (5, 2), "fusion": (7, 2), "pmemo": (52, 3)}
PLUG_IN_LINES = 33
FEATURES = {"sample_rate": 16_000, "n_fft": 512, "win_length": 512, "hop_length": 800, "n_mels": 16}
TRAINING = [
    *(f"--config.features.{name}={value}" for name, value in FEATURES.items()),
    "--config.model.channels=(2,2,2)",
    "--config.model.sequence=none",
    "--config.batch_size=4",
    "--config.data.eval_batch_size=1",
    "--config.data.crop_segments=4",
    "--config.data.overlap=1",
    "--config.data.workers=1",
]


def git(*arguments, cwd=ROOT):
    # A temporary folder may be within another repository.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(cwd.parent)}
    return subprocess.run(
        ["git", *arguments], cwd=cwd, env=env, check=True, capture_output=True, text=True
    ).stdout


def run(tree, *arguments, **variables):
    """Runs Python on the sources of a tree, with one device; returns its standard output."""
    env = {**os.environ, "PYTHONPATH": str(tree), "XLA_FLAGS": "", **variables}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=tree, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def repository():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")


@pytest.fixture
def changed(tmp_path):
    """Copies the sources and applies one of the diffs."""

    def apply(name):
        tree = tmp_path / name
        for file in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
            if file.startswith(SOURCES):
                (tree / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, tree / file, follow_symlinks=False)
        git("apply", str(EXAMPLES / f"{name}.diff"), cwd=tree)
        return tree

    return apply


@pytest.fixture(scope="module")
def pmemo(tmp_path_factory):
    """A miniature in PMEmo's layout: six songs of noise, the first 15 s without labels."""
    folder, rng = tmp_path_factory.mktemp("pmemo"), np.random.default_rng(0)
    (folder / "PMEmo2019" / "annotations").mkdir(parents=True)
    (folder / "PMEmo2019" / "chorus").mkdir()
    rows = ["musicId,frameTime,Arousal(mean),Valence(mean)"]
    for song_id in (1, 4, 5, 6, 7, 13):
        samples = rng.normal(0, 0.1, 16_000 * 20)
        soundfile.write(folder / "PMEmo2019" / "chorus" / f"{song_id}.mp3", samples, 16_000)
        for i in range(30, 40):
            rows.append(f"{song_id},{i / 2},{rng.uniform():.4f},{rng.uniform():.4f}")
    table = folder / "PMEmo2019" / "annotations" / "dynamic_annotations.csv"
    table.write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def plug_in_run(pmemo, tmp_path_factory):
    """The flags of a run of one step on PMEmo by the plug-in's path, prepared on the way."""
    folder = tmp_path_factory.mktemp("runs")
    flags = ["train.py", "--config=configs/default.py", f"--workdir={folder / 'run'}", *TRAINING]
    flags += [f"--config.data.dataset={EXAMPLES / 'pmemo.py'}"]
    flags += [f"--config.data.manual_dir={pmemo}", f"--config.data.data_dir={folder / 'data'}"]
    run(ROOT, *flags, "--config.num_train_steps=1")
    return folder / "run", flags


# Sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_an_example_takes_as_few_lines_as_the_document_says(name):
    table = git("apply", "--numstat", str(EXAMPLES / f"{name}.diff"))
    numbers = [line.split() for line in table.splitlines()]
    size = sum(int(added) for added, _, _ in numbers), len(numbers)
    assert size == SIZES[name]
    text = (EXAMPLES.parent / "extending.md").read_text()
    assert f"{size[0]} lines in {size[1]} files" in text


def test_a_plug_in_is_one_short_file():
    assert len((EXAMPLES / "pmemo.py").read_text().splitlines()) == PLUG_IN_LINES <= 60
    assert f"{PLUG_IN_LINES} lines in one file" in (EXAMPLES.parent / "extending.md").read_text()
    lines, files = SIZES["pmemo"]
    assert lines <= 60 and files <= 3


def test_every_diff_is_of_the_document():
    assert sorted(path.stem for path in EXAMPLES.glob("*.diff")) == sorted(SIZES)


# Models ------------------------------------------------------------------------------------------

QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # Compiling takes most of the time.
GRADIENTS = """
import sys, jax, numpy as np
from damff_jax.configs import default
from damff_jax.models import create_model

config = default.get_config().model
config.channels, config.sequence = (2, 4, 4), "none"
name, value, *layers = sys.argv[1:]
config[name] = value
model = create_model(config, dtype="float32", axis_name=None)
rng = np.random.default_rng(0)
x, mask = rng.normal(size=(2, 3, 8, 16)).astype(np.float32), np.ones((2, 3), bool)
shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, mask, train=False))
variables = jax.tree.map(lambda s: rng.uniform(0.5, 1, s.shape).astype(np.float32), shapes)

def loss(params):
    y, _ = model.apply({**variables, "params": params}, x, mask, train=True, mutable="batch_stats")
    assert y.shape == (2, 3, 2)
    return ((y - x[:, :, 0, :2]) ** 2).sum()

gradients = jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(variables["params"]))
gradients = {"/".join(key.key for key in path): np.asarray(x) for path, x in gradients}
assert all(np.isfinite(x).all() for x in gradients.values())
for layer in layers:
    assert gradients[layer].any(), (layer, list(gradients))
"""


def test_a_third_branch_learns(changed):
    layers = [f"branches/stage{i}/c_kernel" for i in (1, 2, 3)]
    layers.append("fusion_c/spatial/squeeze/kernel")
    run(changed("third_branch"), "-c", GRADIENTS, "branches", "abc", *layers, **QUICKLY)


def test_another_fusion_learns(changed):
    layer = "fusion/gate/kernel"
    run(changed("fusion"), "-c", GRADIENTS, "fusion", "gated", layer, **QUICKLY)


CURVE = """
import sys, numpy as np
from damff_jax.prediction.predictor import Predictor
log_mel, out = np.load(sys.argv[1]), sys.argv[2]
np.save(out, Predictor().from_log_mel(log_mel))
"""


@pytest.mark.slow
def test_a_new_field_changes_no_curve_and_no_run_of_before(changed, plug_in_run, tmp_path):
    """The third branch adds one, whose default changes nothing."""
    predictor, rng = Predictor(), np.random.default_rng(0)
    shape = 30, predictor.features.frames_per_segment, predictor.features.n_mels
    log_mel = rng.normal(-40, 15, shape).astype(np.float32)
    np.save(tmp_path / "log_mel.npy", log_mel)
    tree = changed("third_branch")
    paths = tmp_path / "log_mel.npy", tmp_path / "curve.npy"
    run(tree, "-c", CURVE, *paths, XLA_FLAGS=os.environ["XLA_FLAGS"])
    np.testing.assert_array_equal(
        np.load(tmp_path / "curve.npy"), predictor.from_log_mel(log_mel), strict=True
    )
    workdir, flags = plug_in_run
    run(tree, *flags, "--config.num_train_steps=2")
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 2
    assert json.loads((workdir / "config.json").read_text())["model"]["kernels_c"]


# Data sets ---------------------------------------------------------------------------------------


def check_evaluation(workdir):
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert {name: part["n_points"] for name, part in evaluation.items()} == {
        "validation": 10,
        "test": 10,
    }
    assert evaluation["test"]["seconds"] == [15.0, 20.0]


@pytest.mark.slow
def test_a_data_set_by_the_path_of_its_file(plug_in_run):
    workdir, _ = plug_in_run
    check_evaluation(workdir)


@pytest.mark.slow
def test_a_data_set_within_the_package(changed, pmemo, tmp_path):
    tree, data_dir = changed("pmemo"), tmp_path / "data"
    features = [f"--features.{name}={value}" for name, value in FEATURES.items()]
    where = [f"--manual_dir={pmemo}", f"--data_dir={data_dir}", "--workers=1"]
    out = run(tree, "-m", "input_pipeline.prepare", "--dataset=pmemo", *features, *where)
    assert "  all            6 songs       60 segments  seconds 15 to 20 of the songs" in out
    flags = ["train.py", "--config=pmemo", f"--workdir={tmp_path / 'run'}", *TRAINING]
    flags += [f"--config.data.manual_dir={pmemo}", f"--config.data.data_dir={data_dir}"]
    assert "preparing" not in run(tree, *flags, "--config.num_train_steps=1")
    check_evaluation(tmp_path / "run")


def test_both_forms_of_the_data_set_are_the_same_code(changed):
    tree = changed("pmemo")
    inside = (tree / "input_pipeline" / "pmemo_dataset_builder.py").read_text()
    outside = (EXAMPLES / "pmemo.py").read_text()
    assert inside.splitlines()[1:] == outside.splitlines()[1:]
