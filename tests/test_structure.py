"""The order of the files: what imports what, and which knobs there are."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import configs.models
from configs import default
from damff_jax.features import FeatureConfig
from damff_jax.models import MODELS
from damff_jax.optim import OptimConfig

ROOT = Path(__file__).parents[1]
# A file imports only from what stands before it.
ORDER = [
    "command_line",
    "files",
    "workdir_lock",
    "preemption",
    "id3",
    "wav",
    "decoder_log",
    "flac",
    "mp3",
    "audio",
    "features",
    "readers",
    "losses",
    "metrics",
    "models",
    "optim",
    "augmentation",
    "familiarity",
    "train_state",
    "steps",
    "compilation",
    "parallel",
    "processes",
    "digests",
    "checkpoint",
    "weights",
    "inference",
    "calibration",
    "run_config",
    "closed_form",
    "predictions",
    "evaluation",
    "metric_writer",
    "train_log",
    "training",
    "report",
    "study",
    "predict",
    "lag",
    "torch_peer",
    "benchmark",
]
PACKAGES = ("models", "benchmark", "study")
# What trains imports the pipeline, and what measures it does inside of the function that needs it.
SEE_THE_PIPELINE = tuple(
    f"benchmark/{name}.py" for name in ("input", "deam", "features", "made_up")
)

OPEN_TO_THE_PIPELINE = ("audio", "features", "files", "metrics", "predictions", "preemption")


def imported(path, *, at_module_level=False):
    tree = ast.parse(path.read_text())
    for node in tree.body if at_module_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(package):
    return sorted(path for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources("damff_jax"), ids=lambda path: path.name)
def test_damff_jax_imports_what_stands_before(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts == ("damff_jax", "__init__"):
        return
    position = ORDER.index(parts[1])
    lazily = "/".join(parts[1:]) + ".py" in SEE_THE_PIPELINE
    for name in imported(path):
        assert not name.startswith(("tensorflow", "tensorflow_datasets"))
        assert not name.startswith("input_pipeline") or lazily or parts[1] == "training"
        head, _, rest = name.partition(".")
        if head == "damff_jax":
            module = rest.split(".")[0]
            of_the_package = module == parts[1] and module in PACKAGES
            assert ORDER.index(module) < position or of_the_package, name
    for name in imported(path, at_module_level=True):
        assert not name.startswith("input_pipeline") or parts[1] == "training"


@pytest.mark.parametrize("path", sources("input_pipeline"), ids=lambda path: path.name)
def test_input_pipeline_sees_neither_jax_nor_models(path):
    for name in imported(path):
        assert not name.startswith(("jax", "flax", "optax", "orbax"))
        if name.startswith("damff_jax"):
            assert name.split(".")[1] in OPEN_TO_THE_PIPELINE, name


def test_predict_and_the_benchmark_start_without_tensorflow():
    code = (
        "import sys; import damff_jax.predict, damff_jax.benchmark.__main__; "
        "sys.exit(any(m.split('.')[0].startswith('tensorflow') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_workers_modules_import_neither_jax_nor_tensorflow():
    code = (
        "import sys; import damff_jax.readers, input_pipeline.feature_cache, input_pipeline.midi, "
        "input_pipeline.synthetic.songs, input_pipeline.prepare; "
        "sys.exit(bool({'jax', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_features_start_without_librosa():
    code = (
        "import sys, numpy; from damff_jax.features import FeatureConfig, log_mel; "
        "log_mel(numpy.zeros(9), FeatureConfig()); sys.exit('librosa' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_configs_hold_every_knob_and_its_default():
    config = default.get_config()
    assert config.model == configs.models.damff()
    assert config.features.to_dict() == dataclasses.asdict(FeatureConfig())
    assert config.optim.to_dict() == dataclasses.asdict(OptimConfig())


@pytest.mark.parametrize("name", MODELS)
def test_the_model_configs_hold_every_knob_and_its_default(name):
    fields = {
        field.name: field.default
        for field in dataclasses.fields(MODELS[name])
        if field.name not in ("parent", "name", "dtype", "axis_name")
    }
    assert configs.models.MODELS[name]().to_dict() == {"name": name, **fields}


def test_every_knob_of_the_top_level_and_of_data_is_read():
    readers = ("train.py", "damff_jax/training.py", "damff_jax/run_config.py")
    text = "".join((ROOT / path).read_text() for path in readers)
    of_windows = (ROOT / "damff_jax" / "inference.py").read_text()
    config = default.get_config()
    for name in config:
        assert f"config.{name}" in text or f'"{name}"' in text, name
    for name in config.data:
        assert f"data.{name}" in text or f'"{name}"' in of_windows, name


@pytest.mark.parametrize(
    "path", sources("damff_jax") + sources("input_pipeline") + [ROOT / "train.py"]
)
def test_nothing_is_unpickled_or_evaluated(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec")
        if isinstance(node, ast.keyword):
            assert node.arg not in ("allow_pickle", "shell")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            # NumPy's load unpickles nothing unless it is told to, by a keyword that is not here.
            assert called not in ("torch.load", "os.system", "os.popen")
            # Nor are archives unpacked, whose members could lie anywhere.
            assert called != "shutil.unpack_archive"
    forbidden = {"pickle", "dill", "yaml", "marshal", "shelve", "joblib", "tarfile"}
    assert not forbidden & {name.split(".")[0] for name in imported(path)}
