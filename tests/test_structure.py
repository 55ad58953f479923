"""The structure of the code: imports, settings, and size of functions."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from damff_jax import configs
from damff_jax.configs import default
from damff_jax.features import FeatureConfig
from damff_jax.models import MODELS
from damff_jax.training.optim import OptimConfig

ROOT = Path(__file__).parents[1]
# A wing imports only from itself and from wings before it. Files that are not named here may
# import all wings.
WINGS = (
    "pretrained",
    "configs",
    "system",
    "audio",
    "features",
    "songs",
    "evaluation",
    "models",
    "training",
    "run",
    "report",
    "weights",
    "prediction",
    "export",
    "predict",
    "lag",
    "band",
    "study",
    "benchmark",
    "__init__",
)
# The modules of the package that the input pipeline may import: none that needs JAX.
OPEN_TO_THE_PIPELINE = {
    *("audio", "configs", "evaluation", "features", "songs", "system", "training", "report"),
}


PACKAGES = ("damff_jax", "input_pipeline", "configs")


def imported(path, *, at_module_level=False):
    tree = ast.parse(path.read_text())
    for node in tree.body if at_module_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(package):
    """The files of a wing, except links to files outside of it."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return [path for path in paths if path.resolve().is_relative_to(ROOT / package)]


def wing(name):
    return name.split(".")[1] if name.startswith("damff_jax.") else None


@pytest.mark.parametrize("path", sources("damff_jax"), ids=lambda path: path.name)
def test_a_wing_imports_only_wings_before_it(path):
    own = wing(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for name in imported(path):
        if own != "export":  # Which writes TensorFlow's format, if asked to.
            assert not name.startswith(("tensorflow", "tensorflow_datasets"))
        if wing(name) in WINGS:
            assert WINGS.index(wing(name)) <= WINGS.index(own), name
        assert not name.startswith("input_pipeline") or own == "benchmark", name
    assert not any(n.startswith("input_pipeline") for n in imported(path, at_module_level=True))


def test_no_import_leads_back_to_where_it_came_from():
    """Not even within a wing, if the import is at module level."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("damff_jax", "input_pipeline")
        for path in sources(package)
    }
    arrows = {
        module: {
            max((m for m in modules if name == m or name.startswith(f"{m}.")), key=len, default="")
            for name in imported(path, at_module_level=True)
        }
        - {"", module}
        for module, path in modules.items()
    }
    while leaves := {module for module, targets in arrows.items() if not targets}:
        arrows = {m: targets - leaves for m, targets in arrows.items() if m not in leaves}
    assert not arrows


@pytest.mark.parametrize("path", sources("input_pipeline"), ids=lambda path: path.name)
def test_input_pipeline_sees_neither_jax_nor_models(path):
    for name in imported(path):
        assert not name.startswith(("jax", "flax", "optax", "orbax"))
        if name.startswith("damff_jax"):
            assert wing(name) in OPEN_TO_THE_PIPELINE, name


@pytest.mark.parametrize(
    "path", [*(p for name in PACKAGES for p in sources(name)), ROOT / "train.py"]
)
def test_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_predict_and_the_benchmark_start_without_tensorflow():
    code = (
        "import sys; import damff_jax.predict, damff_jax.benchmark.__main__; "
        "sys.exit(any(m.split('.')[0].startswith('tensorflow') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_workers_modules_import_neither_jax_nor_tensorflow():
    code = (
        "import sys; import damff_jax.prediction.readers, input_pipeline.feature_cache; "
        "import input_pipeline.midi, "
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


def test_the_configs_hold_every_setting_and_its_default():
    config = default.get_config()
    assert config.model == configs.models.damff()
    assert config.features.to_dict() == dataclasses.asdict(FeatureConfig())
    assert config.optim.to_dict() == dataclasses.asdict(OptimConfig())


@pytest.mark.parametrize("name", MODELS)
def test_the_model_configs_hold_every_setting_and_its_default(name):
    fields = {
        field.name: field.default
        for field in dataclasses.fields(MODELS[name])
        if field.name not in ("parent", "name", "dtype", "axis_name")
    }
    assert configs.models.MODELS[name]().to_dict() == {"name": name, **fields}


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
            # NumPy's load unpickles nothing without a keyword that must not be used here.
            assert called not in ("torch.load", "os.system", "os.popen")
            # Nor are archives unpacked, whose members could have any path.
            assert called != "shutil.unpack_archive"
    forbidden = {"pickle", "dill", "yaml", "marshal", "shelve", "joblib", "tarfile"}
    assert not forbidden & {name.split(".")[0] for name in imported(path)}
