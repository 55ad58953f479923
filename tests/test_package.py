"""The installed package: its command lines, and the wheel outside of a checkout."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import damff_jax
from damff_jax import configs
from damff_jax.system import extras
from input_pipeline import registry, settings

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "predict": "damff_jax.predict",
    "prepare": "input_pipeline.prepare",
    "train": "damff_jax.train",
    "study": "damff_jax.study",
    "benchmark": "damff_jax.benchmark",
    "weights": "damff_jax.weights",
    "lag": "damff_jax.lag",
    "band": "damff_jax.band",
    "export": "damff_jax.export",
}
# Modules that are slow to import.
FRAMEWORKS = ("jax", "flax", "tensorflow", "tensorflow_datasets", "matplotlib", "librosa", "torch")
CPU_SECONDS = 2.0

# Command lines --------------------------------------------------------------------------------

RUN = f"""
import runpy, sys
module = sys.argv.pop(1)
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
finally:
    if imported := set({FRAMEWORKS}) & set(sys.modules):
        sys.exit(f"{{module}} has imported {{imported}}")
"""


def started(command, *arguments):
    """Runs a command that only parses its flags; returns status, stdout and stderr."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-c", RUN, COMMANDS[command], *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < CPU_SECONDS
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_its_version_before_any_framework_is_imported(command):
    version = f"damff_jax {damff_jax.__version__}\n"
    assert started(command, "--version") == (0, version, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_before_any_framework_is_imported(command):
    status, out, err = started(command, "--help")
    assert (status, err) == (0, "") and "--version" in out


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("predict", ["a.wav", "--plott"], "unrecognized arguments: --plott"),
        ("predict", ["--batch_size=0", "a.wav"], "--batch_size must be positive"),
        ("prepare", ["--manual_dir=x"], "the following arguments are required: --dataset"),
        ("prepare", ["--dataset=daem"], "unknown data set 'daem'; available: deam, emopia, "),
        ("prepare", ["--dataset=deam", "--protokol=all"], "unrecognized arguments: --protokol"),
        ("prepare", ["--dataset=deam", "--protocol=none"], "protocol 'none' is not one of release"),
        ("prepare", ["--dataset=deam", "--features.n_mels=0"], "features: n_mels and hop_length"),
        ("train", ["--workdri=x"], "Unknown command line flag 'workdri'"),
        ("train", ["--config.data.crop=3"], "unknown config setting: "),
        ("train", ["--config=none"], "none: No such file or directory"),
        ("study", ["--config=none"], "none: No such file or directory"),
        ("study", ["--config=deam", "--systems=damf"], "unknown system 'damf'; available: const"),
        ("benchmark", ["--suite=none"], "argument --suite: 'none'; available: step, "),
        ("benchmark", ["--seconds=nan"], "--seconds=nan: not a duration"),
        ("weights", ["runs/x", "x.npz"], "x.npz: the name must end in .safetensors"),
        ("lag", ["--pairs=0", "songs"], "--pairs must be positive"),
        ("band", [], "the following arguments are required: PREDICTIONS.csv"),
        ("export", [], "the following arguments are required: --output_dir"),
        ("export", ["--output_dir=x", "--formats=tflite"], "--formats: 'tflite'; available: stab"),
    ],
)
def test_a_usage_error_is_reported_before_any_framework_is_imported(command, arguments, reason):
    status, out, err = started(command, *arguments)
    program = "train.py" if command == "train" else command
    assert (status, out) == (2, "")
    assert err.startswith(f"{program}: error: {reason}") and err.count("\n") == 1, err


@pytest.mark.parametrize("name", registry.NAMES)
def test_every_data_set_lists_its_options_before_any_framework_is_imported(name):
    status, out, err = started("prepare", f"--dataset={name}", "--help")
    assert (status, err) == (0, "")
    for part in settings.classes(name):
        for field in part.__dataclass_fields__.values():
            rest = out.partition(f"\n  --{field.name} ")[2]
            described = " ".join(re.split(r"\n(?=  --|\n)", rest)[0].split()[1:])
            # More than the default, because the docstring describes it.
            what, default, end = described.partition(f" (default: {field.default!r})")
            assert what and default and not end
            assert all(choice in rest for choice in field.metadata.get("choices", ()))


def test_prepare_lists_the_data_sets_and_study_the_studies():
    _, out, _ = started("prepare", "--help")
    for name, text in settings.listed().items():
        assert name in out and text and text in out
    _, out, _ = started("study", "--help")
    assert all(name in out for name in configs.listed("studies"))


# Extras ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments", "extra"),
    [
        ("predict", ["a.wav", "--plot"], "plot"),
        ("prepare", ["--dataset=synthetic"], "train"),
        ("train", [], "train"),
        ("study", ["--config=deam"], "train"),
        ("benchmark", [], "benchmark"),
        ("export", ["--output_dir=x", "--formats=saved_model"], "train"),
        ("export", ["--output_dir=x", "--formats=onnx"], "onnx"),
        ("benchmark", ["--compare=torch"], "parity"),
    ],
)
def test_a_command_that_needs_an_extra_names_it(command, arguments, extra):
    """In a process in which one of its libraries is missing."""
    lacking = f"from damff_jax.system import extras; extras._MODULES[{extra!r}] = ('none_such',)\n"
    result = subprocess.run(
        [sys.executable, "-c", lacking + RUN, COMMANDS[command], *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith(f"needs the extra [{extra}]: pip install 'damff_jax[{extra}]'\n")
    assert result.stderr.count("\n") == 1 and ": error: " in result.stderr


def test_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras._MODULES.keys() <= project["optional-dependencies"].keys()


# The wheel ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The script folder of an environment that has the wheel and our libraries."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in ("damff_jax", "input_pipeline", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for name in ("train.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    quiet = {"check": True, "capture_output": True}
    subprocess.run([*pip, "wheel", "--no-deps", f"--wheel-dir={folder}", source], **quiet)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], **quiet)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], **quiet)
    # After the wheel in the search order, and without its own .pth files.
    (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


@pytest.fixture
def call(installed, tmp_path, monkeypatch):
    """Runs a script of the package in an empty folder; returns its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("XLA_FLAGS")  # One device is enough.

    def run(script, *arguments):
        result = subprocess.run(
            [installed / script, *arguments], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


FEATURES = {"sample_rate": 8000, "n_fft": 512, "win_length": 480, "hop_length": 400, "n_mels": 16}
SONGS = {"n_clips": 4, "n_test": 2, "duration_s": 6.0, "sample_rate": 16_000, "seed": 1}
TINY = [
    *(f"--config.features.{name}={value}" for name, value in FEATURES.items()),
    *(f"--config.data.options.{name}={value}" for name, value in SONGS.items()),
    *("--config.data.workers=1", "--config.data.crop_segments=8", "--config.data.overlap=2"),
    *("--config.num_train_steps=2", "--config.eval_every_steps=2", "--config.batch_size=4"),
]


@pytest.mark.slow
def test_the_wheel_holds_everything(installed):
    (site_packages,) = (installed.parent / "lib").glob("python*/site-packages")
    tracked = ["git", "ls-files", "damff_jax", "input_pipeline", "configs", "train.py"]
    files = subprocess.run(tracked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if "dummy_data" in name or name == "damff_jax/configs":
            continue
        in_package = name if name.startswith(("damff_jax", "input_")) else f"damff_jax/{name}"
        assert (site_packages / in_package).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.slow
def test_the_installed_scripts_belong_to_the_wheel_and_print_its_version(installed, call):
    code = "import damff_jax, input_pipeline; print(damff_jax.__file__, input_pipeline.__file__)"
    for path in call("python", "-c", code).split():
        assert Path(path).is_relative_to(installed.parent)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for script in scripts:
        assert call(script, "--version") == f"damff_jax {damff_jax.__version__}\n"


@pytest.mark.slow
def test_an_installed_package_predicts(call):
    noise = np.random.default_rng(0).normal(0, 0.1, 44_100 * 5)
    soundfile.write("song.wav", noise.astype(np.float32), 44_100)
    call("damff-predict", "song.wav", "--plot", "--html", "--json")
    assert len(Path("song.csv").read_text().splitlines()) == 11
    assert all(Path(f"song.{kind}").stat().st_size for kind in ("png", "html", "json"))


@pytest.mark.slow
def test_an_installed_package_prepares_trains_and_studies(call):
    flags = [f"--features.{name}={value}" for name, value in FEATURES.items()]
    flags += [f"--{name}={value}" for name, value in SONGS.items()]
    assert call("damff-prepare", "--dataset=synthetic", "--workers=2", *flags).startswith("built")
    model = ["--config.model.channels=(2,2,4)", "--config.model.hidden_size=4"]
    assert "preparing" not in call("damff-train", *model, *TINY)
    assert Path("runs/synthetic/evaluation.json").is_file()
    # Another data folder, so that training prepares the data set itself.
    assert "preparing" in call(
        "damff-train", "--config=synthetic:constant", "--config.data.data_dir=more", *TINY
    )
    assert Path("runs/synthetic-constant/evaluation.json").is_file()

    command = ["train.py", "--config=configs/synthetic.py:constant", "--workdir={workdir}"]
    command += ["--config.seed={seed}", *TINY]
    systems = {"constant": {"command": command}}
    content = {"folds": (0,), "seeds": (0,), "reference": "constant", "group": ""}
    Path("mine.py").write_text(
        f"def get_study():\n    return { ({**content, 'systems': systems})!r}\n"
    )
    for _ in range(2):  # The second time everything is already done.
        assert "| constant |" in call("damff-study", "--config=mine.py")
    record = json.loads(Path("runs/mine/constant/fold0_seed0/study.json").read_text())
    assert record["recipe"] == [part.replace("{seed}", "0") for part in command]
    assert not os.path.exists("configs")
