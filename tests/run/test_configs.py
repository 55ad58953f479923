"""The named configs: every one builds, and its model has a known size."""

import dataclasses
import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from ml_collections import config_flags

from damff_jax.configs import models
from damff_jax.evaluation import predictions
from damff_jax.features import FeatureConfig
from damff_jax.models import create_model
from damff_jax.run import run_config, train_flags
from damff_jax.study import averaged
from damff_jax.study.__main__ import load_study
from damff_jax.study.planning import plan
from damff_jax.study.runs import PREDICTIONS
from input_pipeline import datasets
from input_pipeline.vgmidi import raters

# At 25 frames × 64 bins a segment has 6 × 8 points, a quarter of the paper's 12 × 16; at 10 × 64
# it has 2 × 8.
PARAMETERS = {
    "default": 188_819,
    "deam": 188_819,
    "deam_plus": 121_671,
    "deam_reduced": 102_271,
    "emopia": 102_271,
    "folder": 188_819,
    "mer1101": 188_819,
    "synthetic": 115_703,
    "vgmidi": 102_271,
    "vgmidi_augmented": 102_271,
}
ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py") if path.stem != "models")
# At 50 frames × 128 bins, and at half of both.
MODEL_PARAMETERS = {
    "damff": (188_819, 115_703),
    "damff_plus": (705_370, 245_182),
    "constant": (2, 2),
    "ridge": (2_050, 1_026),
    "cnn_bigru": (182_692, 133_540),
    "cnn_bigru_small": (10_804, 6_708),
    "cnn_bilstm": (190_246, 79_654),
    "frame_bilstm": (164_738, 131_970),
    "embedding_bigru": (51_266, 32_834),
}


def get_config(name, *model):
    return importlib.import_module(f"damff_jax.configs.{name}").get_config(*model)


def with_files(config):
    """The config with files that only a user has."""
    if config.loss.teacher:
        config.data.teacher = "embeddings.npz"
    if config.model.name == "embedding_bigru":
        config.data.heard = "embeddings.npz"
    return config


def count_parameters(config):
    run_config.check(with_files(config))
    features = FeatureConfig(**config.features)
    model = create_model(config.model, dtype=config.dtype, axis_name=None)
    log_mel = jnp.zeros((1, 1, features.frames_per_segment, features.n_mels))
    init = jax.eval_shape(
        lambda: model.init(jax.random.key(0), log_mel, jnp.ones((1, 1), bool), train=False)
    )
    return sum(x.size for x in jax.tree.leaves(init["params"]))


def test_every_config_is_counted():
    assert sorted(PARAMETERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name):
    assert count_parameters(get_config(name)) == PARAMETERS[name]


@pytest.mark.parametrize("model", models.MODELS)
def test_parameters_of_the_models(model):
    counts = tuple(count_parameters(get_config(name, model)) for name in ("deam", "synthetic"))
    assert counts == MODEL_PARAMETERS[model]
    if model == "embedding_bigru":
        return  # Its input has another size.
    text = " ".join(models.MODELS[model].__doc__.split())
    assert f"{counts[0]:,} parameters ({counts[1]:,})" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_config_takes_every_model(name):
    """Its features, crops and loss work with the model, which returns a curve for the crop."""
    for model in models.MODELS:
        config = with_files(get_config(name, model))
        run_config.check(config)
        assert config.model.name == models.MODELS[model]().name
        assert curve_shape(config) == (1, config.data.crop_segments, 2)
        if name == "deam_plus":  # It changes the models' fields.
            continue
        assert config.model == models.MODELS[model]()
        models.use(config, "damff")
        config.data.heard = ""
        assert config == get_config(name)
    with pytest.raises(
        ValueError, match=r"unknown model 'nope'; available: damff, damff_plus, con"
    ):
        get_config(name, "nope")


def curve_shape(config):
    """The shape of a model's output for one crop."""
    features, t = FeatureConfig(**config.features), config.data.crop_segments
    model = create_model(config.model, dtype=config.dtype, axis_name=None)
    # Embeddings have one frame per segment, and their dimensions instead of Mel bins.
    shape = (1, 200) if config.data.heard else (features.frames_per_segment, features.n_mels)
    curve, _ = jax.eval_shape(
        lambda *inputs: model.init_with_output(jax.random.key(0), *inputs, train=False),
        jax.ShapeDtypeStruct((1, t, *shape), jnp.float16),
        jax.ShapeDtypeStruct((1, t), bool),
    )
    assert curve.dtype == jnp.float32
    return curve.shape


def parse(monkeypatch, *arguments):
    """The flags of train.py for these arguments."""
    argv = ["train.py", *arguments]
    monkeypatch.setattr(sys, "argv", argv)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    assert values(argv) == ["train.py"]
    return values


def test_the_command_line_takes_a_model_and_its_settings(monkeypatch):
    config = f"--config={ROOT}/configs/vgmidi.py:ridge"
    values = parse(monkeypatch, config, "--config.model.penalty=3.5")
    assert values.config.model.name == "ridge"
    assert values.config.model.penalty == 3.5
    assert train_flags.default_workdir(values["config"].config_filename).name == "vgmidi-ridge"
    with pytest.raises(AttributeError, match="fusion"):
        parse(monkeypatch, config, "--config.model.fusion=sum")


@pytest.mark.parametrize(
    ("config", "workdir"),
    [
        ("configs/vgmidi.py", "runs/vgmidi"),
        ("configs/vgmidi.py:ridge", "runs/vgmidi-ridge"),
        ("/my/own.py:", "runs/own"),
    ],
)
def test_the_default_workdir_names_config_and_model(config, workdir):
    assert str(train_flags.default_workdir(config)) == workdir


@pytest.mark.parametrize("name", [name for name in NAMES if name != "default"])
def test_a_data_set_config_shows_all_its_options_with_their_defaults(name):
    data = get_config(name).data
    settings = datasets.make_settings(data.dataset, data.options.to_dict())
    defaults: dict = {}
    for part in settings:
        defaults |= dataclasses.asdict(type(part)())
    if name == "vgmidi_augmented":
        defaults["renderings"] = 4  # Its purpose.
    if name == "deam_plus":
        defaults["validation_fraction"] = 0.0  # It makes no choice by validation songs.
    assert data.options.to_dict() == defaults


# Studies -----------------------------------------------------------------------------------------

STUDIES = sorted((ROOT / "configs" / "studies").glob("[a-z]*.py"))
SYSTEMS = [(path.stem, name) for path in STUDIES for name in load_study(str(path))["systems"]]


@pytest.mark.parametrize(("study", "system"), SYSTEMS)
def test_every_system_of_a_study_is_a_command(study, system, tmp_path, monkeypatch):
    """Up to the point where data are needed; for raters, to the end."""
    content = load_study(str(ROOT / "configs" / "studies" / f"{study}.py"))
    (tmp_path / "data_sets").mkdir()
    for name in ("vgmidi", "emopia"):
        dummy = ROOT / "input_pipeline" / name / "dummy_data"
        (tmp_path / "data_sets" / name).symlink_to(dummy)
    manual_dir, data_dir = str(tmp_path / "data_sets"), str(tmp_path / "data")
    protocol = next(iter(content["protocols"]))
    for run in plan(content, tmp_path / "runs", systems=[system], folds=[1], seeds=[2],
                    protocol=protocol, manual_dir=manual_dir, data_dir=data_dir):  # fmt: skip
        _, *command = run.command()
        assert not any("{" in argument for argument in command)
        if command[:2] == ["-m", raters.__spec__.name]:
            assert raters.main(command[2:]) == 0
            assert len(predictions.read(run.workdir / PREDICTIONS)[0]) == 1
            continue
        if command[:2] == ["-m", averaged.__spec__.name]:
            assert f"--of={run.after[0].workdir}" in command
            assert averaged.main(command[2:]) == 1  # There are no predictions.
            continue
        assert command[:2] == ["-m", "damff_jax.train"]
        monkeypatch.chdir(ROOT)
        values = parse(monkeypatch, *command[2:])
        assert values.workdir == str(run.workdir)
        config = values.config
        run_config.check(config)
        create_model(config.model, dtype=config.dtype, axis_name=None)
        _, split = datasets.make_settings(config.data.dataset, config.data.options.to_dict())
        assert config.seed == 2
        if run.predicts:
            assert split.fold == 1
        assert config.data.data_dir == data_dir
        assert config.data.manual_dir == f"{manual_dir}/{config.data.dataset}"
        assert config.init_from == (str(run.after[0].workdir) if run.after else "")


def test_the_systems_of_a_study_differ():
    for path in STUDIES:
        systems = load_study(str(path))["systems"]
        commands = [(tuple(x["command"]), x.get("init_from")) for x in systems.values()]
        assert len(set(commands)) == len(commands)
