"""Exported models give the curves of the checkpoint, and need nothing of this package."""

import importlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from damff_jax import Predictor, pretrained
from damff_jax.evaluation.inference import Windowing, predict_curves
from damff_jax.export import __main__ as export
from damff_jax.export import folder, stablehlo
from damff_jax.features import FeatureConfig
from damff_jax.models import create_model
from damff_jax.prediction.trained import Trained
from damff_jax.training import compilation, steps

FEATURES = FeatureConfig(sample_rate=8000, n_fft=1024, win_length=960, hop_length=500, n_mels=8)
F, M = FEATURES.frames_per_segment, FEATURES.n_mels
SMALL = {
    "damff": {"channels": (2, 2, 4), "hidden_size": 4, "context_size": 3},
    "cnn_bigru": {"channels": 2, "dense_size": 6, "hidden_size": 4},
    "frame_bilstm": {"dense_size": 6, "hidden_size": 4},
}
# Segments of songs: one, shorter than a window, and several windows.
LENGTHS = (1, 9, 31)


def small(name):
    """A small model with random weights, none of them zero."""
    model = create_model({"name": name, **SMALL.get(name, {})}, dtype="float32", axis_name=None)
    shapes = jax.eval_shape(
        partial(model.init, train=False),
        jax.random.key(0),
        np.zeros((1, 4, F, M), np.float32),
        np.ones((1, 4), bool),
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: np.float32(rng.uniform(0.1, 0.6, x.shape)), shapes)
    windowing = Windowing(12, 4, margin=2)
    return Trained("small", "not trained", model, variables, FEATURES, windowing, 0.5, None, {})


def songs(n_frames=F, n_mels=M):
    rng = np.random.default_rng(1)
    return [np.float32(rng.normal(-30, 9, (t, n_frames, n_mels))) for t in LENGTHS]


def curves(apply, windowing, songs):
    return list(predict_curves(apply, [[x] for x in songs], windowing=windowing, batch_size=4))


def options():
    return compilation.options(jax.default_backend())


def loaded_stablehlo(path):
    exported = jax.export.deserialize(bytearray((path / stablehlo.FILE).read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    return jax.jit(exported.call, compiler_options=options())


@pytest.mark.parametrize("name", ["damff", "cnn_bigru", "frame_bilstm", "ridge", "constant"])
def test_stablehlo_of_all_kinds_of_models_is_bit_equal_to_them_for_any_batch_and_length(
    name, tmp_path
):
    trained = small(name)
    stablehlo.write(tmp_path, trained)
    apply = loaded_stablehlo(tmp_path)
    ours = jax.jit(partial(steps.eval_step, model=trained.model), compiler_options=options())
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (2, 7)):
        log_mel = np.float32(rng.normal(0, 3, (*shape, F, M)))
        mask = np.arange(shape[1]) < rng.integers(1, shape[1] + 1, (shape[0], 1))
        expected = np.asarray(ours(trained.variables, log_mel, mask))
        assert name == "constant" or expected.std() > 0
        np.testing.assert_array_equal(apply(log_mel, mask), expected, strict=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of the default weights' export."""
    path = tmp_path_factory.mktemp("exported")
    assert export.main([f"--output_dir={path}"]) == 0
    return path / "stablehlo"


def test_stablehlo_of_the_default_weights_gives_their_curves_bit_for_bit(exported):
    predictor = Predictor()
    features, windowing = predictor.features, predictor._windowing
    given = songs(features.frames_per_segment, features.n_mels)
    ours = [predictor.from_log_mel(song) for song in given]
    for curve, own in zip(curves(loaded_stablehlo(exported), windowing, given), ours, strict=True):
        np.testing.assert_array_equal(curve, own, strict=True)
        assert np.abs(own).max() <= 1


def test_the_folder_has_settings_and_a_model_card(exported):
    settings = json.loads((exported / "settings.json").read_text())
    predictor = Predictor()
    assert FeatureConfig.from_json(settings["features"]) == predictor.features
    assert Windowing(**settings["windowing"]) == predictor._windowing
    assert settings["lag_s"] == predictor.lag_s
    assert settings["output"]["names"] == ["valence", "arousal"]
    card = (exported / "README.md").read_text()
    assert card.startswith("# damff_plus_deam\n") and predictor.origin in card
    original = pretrained.DEFAULT.with_suffix(".md").read_text()
    assert original.partition("\n")[2].strip() in card


# Runs an example for several songs in an environment that lacks this package.
ALONE = """
import runpy, sys
sys.modules["damff_jax"] = None
example, *songs = sys.argv[1:]
for song in songs:
    sys.argv[1:] = [song]
    runpy.run_path(example, run_name="__main__")
"""
HEADER = "time_s,valence,arousal\n"


def run_example(path, *songs):
    """What a folder's example prints for each song: (T, 3)."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, path / folder.EXAMPLE, *songs],
        cwd=songs[0].parent,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, *tables = done.stdout.split(HEADER)
    assert not before and len(tables) == len(songs)
    return [
        np.array([[float(x) for x in line.split(",")] for line in table.splitlines()])
        for table in tables
    ]


def write_song(path, seconds=7.0):
    noise = 0.1 * np.random.default_rng(0).normal(size=(round(seconds * 44_100), 2))
    soundfile.write(path, np.clip(noise, -1, 1), 44_100, subtype="FLOAT")
    return path


def assert_same_curves(path, tmp_path):
    """Checks the example's curves of songs of three lengths, to five digits."""
    predictor = Predictor()
    songs = [write_song(tmp_path / f"{seconds}.wav", seconds) for seconds in (0.5, 7.0, 33.0)]
    for song, table in zip(songs, run_example(path, *songs), strict=True):
        samples, rate = soundfile.read(song, dtype="float32")
        expected = predictor.from_waveform(samples, rate)
        np.testing.assert_array_equal(table[:, 0], 0.5 * np.arange(len(expected)))
        np.testing.assert_allclose(table[:, 1:], expected, atol=1e-5)


def test_the_example_prints_the_curves_of_songs(exported, tmp_path):
    assert_same_curves(exported, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "needs"), [("saved_model", ["tensorflow"]), ("onnx", ["jax2onnx", "onnxruntime"])]
)
def test_other_formats_give_the_curves_to_five_digits(name, needs, tmp_path):
    """In processes of their own: the converters change JAX, or take its devices."""
    for module in needs:
        pytest.importorskip(module, reason=f"{module} is not installed")
    command = [sys.executable, "-m", "damff_jax.export", f"--output_dir={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([*command, f"--formats={name}"], env=environment, check=True)
    assert_same_curves(tmp_path / name, tmp_path)


def test_what_cannot_be_exported_is_an_error_of_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        export.main([f"--output_dir={tmp_path}/x", f"--checkpoint={tmp_path}/none"])
    missing = f"export: error: {tmp_path}/none: No such file or directory\n"
    assert capsys.readouterr().err == missing
    (tmp_path / "file").write_text("")
    assert export.main([f"--output_dir={tmp_path}/file"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("export: error: ") and err.count("\n") == 1


def test_every_format_is_described():
    for name in export.FORMATS:
        kind = importlib.import_module(f"damff_jax.export.{name}")
        assert kind.FILE in kind.LOADING and kind.NOTES and kind.IMPORTS and kind.NEEDS
