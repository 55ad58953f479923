"""Weights in one file: what is saved is loaded, and nothing else is accepted."""

import copy
import json
import pickle
import random
import shutil
import warnings

import jax
import numpy as np
import optax
import pytest
import safetensors.numpy
import soundfile

from damff_jax import predict, pretrained, weights
from damff_jax.audio import AudioWarning
from damff_jax.evaluation.familiarity import Profile
from damff_jax.features import FeatureConfig
from damff_jax.models import create_model
from damff_jax.run import checkpoint
from damff_jax.run.checkpoint import CheckpointError, Checkpoints, CheckpointWarning
from damff_jax.training import parallel, train_state

MODEL = {"name": "damff", "channels": [2, 2, 2], "sequence": "none", "branches": "a"}
FEATURES = FeatureConfig(sample_rate=8000, n_fft=512, win_length=480, hop_length=400, n_mels=8)
META = {
    "config": {
        "model": MODEL,
        "dtype": "float32",
        "data": {"dataset": "vgmidi", "crop_segments": 4, "overlap": 1},
    },
    "features": FEATURES.to_json(),
    "identity": {"dataset": "vgmidi/ä"},
}


def small_state():
    """The state of a small model that was never trained."""
    return train_state.create(
        create_model(MODEL, dtype="float32", axis_name=None),
        optax.identity(),
        seed=0,
        segment_shape=(FEATURES.frames_per_segment, FEATURES.n_mels),
        input_stats={"mean": np.linspace(-12, -8, 8), "std": np.linspace(5, 9, 8)},
        with_ema=False,
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run that was never trained."""
    workdir = tmp_path_factory.mktemp("run")
    state = small_state()
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save_if_best(parallel.replicate(state), META, 0.25)
    return workdir


@pytest.fixture(scope="module")
def file(workdir, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    assert weights.main([str(workdir), str(path)]) == 0
    return path


def assert_same(ours, theirs):
    """Checks for arrays of the same names, dtypes, shapes and bytes, and the same metadata."""
    assert ours[1] == theirs[1]
    ours, theirs = (jax.tree_util.tree_flatten_with_path(x[0]) for x in (ours, theirs))
    assert ours[1] == theirs[1]
    for (path, a), (_, b) in zip(ours[0], theirs[0], strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), path


def test_a_file_holds_what_the_run_does(workdir, file):
    variables, meta = weights.load(file)
    assert (meta["score"], meta["step"], meta["identity"]) == (0.25, 0, META["identity"])
    assert_same((variables, meta), checkpoint.load_variables(workdir))
    assert_same((variables, meta), weights.load(workdir))
    with safetensors.safe_open(file, framework="numpy") as content:
        assert "params/branches/stage1/a_kernel" in content.keys()  # noqa: SIM118


def test_every_array_comes_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    variables = {
        "params": {
            "a": {"transposed": rng.normal(size=(3, 4)).astype(np.float32).T},
            "scalar": np.float32(0.1) * np.ones(()),
            "empty": np.zeros((0, 3), np.float32),
            "odd": np.array([np.nan, -0.0, np.inf, 1e-45], np.float32),
            "strided": np.arange(10)[::3],
        },
        "batch_stats": {},
        "input_stats": {"mean": rng.normal(size=5).astype(np.float16)},
    }
    path = tmp_path / "a.safetensors"
    weights.save(path, variables, {**META, "step": 3, "score": None})
    assert_same(weights.load(path), (variables, {**META, "step": 3, "score": None}))


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        weights.save(tmp_path / "a.safetensors", {"x": np.zeros(1)}, META | {"score": np.nan})
    assert not list(tmp_path.iterdir())


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def foreign(kind, tmp_path):
    arrays = {"params/x": np.zeros(3, np.float32)}
    return {
        "empty": b"",
        "text": b"no weights" * 99,
        "pickle": pickle.dumps(Bomb(tmp_path / "bomb")),
        "no text": safetensors.numpy.save(arrays),
        "another program's": safetensors.numpy.save(arrays, {"format": "pt"}),
        "no digest": safetensors.numpy.save(arrays, {"damff_jax": json.dumps(META)}),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["empty", "text", "pickle", "no text", "another program's", "no digest"]
)
def test_foreign_files_are_refused_by_name(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    path.write_bytes(foreign(kind, tmp_path))
    with pytest.raises(CheckpointError, match=f"^{path}: not weights of this program") as caught:
        weights.load(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bomb").exists()


def test_paths_without_a_file_are_refused(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("none.safetensors", "folder.safetensors"):
        with pytest.raises(CheckpointError, match=f"^{tmp_path / name}: "):
            weights.load(tmp_path / name)
    with pytest.raises(CheckpointError, match="contains no checkpoint of a training run"):
        weights.load(tmp_path)


def test_truncated_files_are_refused(file, tmp_path):
    content, path = file.read_bytes(), tmp_path / "a.safetensors"
    for size in {*range(0, len(content), 97), len(content) - 1}:
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=f"^{path}: "):
            weights.load(path)


def test_flipped_bits_are_refused_wherever_they_are(file, tmp_path):
    """What is accepted equals what was written: a few bytes of the header have no meaning."""
    content, path, written = file.read_bytes(), tmp_path / "a.safetensors", weights.load(file)
    rng = random.Random(0)
    n_refused = 0
    for _ in range(400):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            assert_same(weights.load(path), written)
        except CheckpointError as error:
            assert str(error).startswith(f"{path}: ")
            n_refused += 1
    assert n_refused > 390


def test_changed_meta_data_are_refused(file, tmp_path):
    with safetensors.safe_open(file, framework="numpy") as content:
        arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        texts = content.metadata()
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.numpy.save(arrays, texts))
    assert_same(weights.load(path), weights.load(file))
    for changed in (
        (arrays, {**texts, "damff_jax": texts["damff_jax"].replace("vgmidi", "deam")}),
        ({**arrays, "input_stats/mean": arrays["input_stats/mean"].reshape(2, 4)}, texts),
        ({**arrays, "input_stats/mean": arrays["input_stats/std"]}, texts),
        ({name: x for name, x in arrays.items() if name != "input_stats/mean"}, texts),
    ):
        path.write_bytes(safetensors.numpy.save(*changed))
        with pytest.raises(CheckpointError, match="damaged"):
            weights.load(path)


# The commands ------------------------------------------------------------------------------------


def test_the_command_reports_its_errors(workdir, tmp_path, capsys):
    assert weights.main([str(tmp_path), str(tmp_path / "a.safetensors")]) == 1
    assert "contains no checkpoint of a training run" in capsys.readouterr().err
    assert weights.main([str(workdir), str(tmp_path / "none" / "a.safetensors")]) == 1
    assert capsys.readouterr().err.startswith("weights: error: ")
    with pytest.raises(SystemExit) as stop:
        weights.main([str(workdir), str(tmp_path / "a.pkl")])
    assert stop.value.code == 2
    assert "the name must end in .safetensors" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_prediction_from_a_file_is_that_from_its_run(workdir, file, tmp_path, capsys):
    rng = np.random.default_rng(1)
    soundfile.write(tmp_path / "song.wav", 0.1 * rng.normal(size=8000 * 4), 8000)
    curves = []
    for name, path in (("run", workdir), ("file", file)):
        folder = tmp_path / name
        argv = [str(tmp_path / "song.wav"), f"--checkpoint={path}", f"--output_dir={folder}"]
        assert predict.main(argv) == 0
        assert "trained on vgmidi" in capsys.readouterr().err
        curves.append((folder / "song.csv").read_bytes())
    assert curves[0] == curves[1]
    rows = np.loadtxt(tmp_path / "run" / "song.csv", delimiter=",", skiprows=1)
    assert rows.shape == (8, 3) and len(np.unique(rows[:, 1])) > 1


def broken_weights(file, tmp_path, **changes):
    variables, meta = copy.deepcopy(weights.load(file))
    for name, value in changes.items():
        meta["config"]["model"][name] = value
    weights.save(tmp_path / "broken.safetensors", variables, meta)


def test_unusable_weights_print_one_line_and_status_2(file, tmp_path, monkeypatch, capsys):
    (tmp_path / "song.wav").touch()
    (tmp_path / "text.safetensors").write_text("no weights")
    broken_weights(file, tmp_path, fusion="later")
    monkeypatch.setattr(pretrained, "DEFAULT", tmp_path / "none.safetensors")
    for arguments, message in (
        ([], f"{pretrained.DEFAULT}: missing, so there are no default weights"),
        (["--checkpoint=/nowhere"], "/nowhere: No such file or directory"),
        ([f"--checkpoint={tmp_path}"], f"{tmp_path}: contains no checkpoint of a training run"),
        (["--checkpoint=/nowhere.safetensors"], "/nowhere.safetensors: No such file"),
        ([f"--checkpoint={tmp_path}/text.safetensors"], "not weights of this program"),
        ([f"--checkpoint={tmp_path}/broken.safetensors"], "model.fusion: 'later'"),
    ):
        with pytest.raises(SystemExit) as stop:
            predict.main([str(tmp_path / "song.wav"), f"--output_dir={tmp_path}", *arguments])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("predict: error: ") and message in line


def test_folders_of_the_machine_that_trained_stay_there(workdir, tmp_path):
    variables, meta = weights.load(workdir)
    meta = copy.deepcopy(meta)
    meta["config"]["data"] |= {"manual_dir": "/secret/a", "data_dir": "/secret/b"}
    meta["config"]["data"]["dataset"] = "/secret/vgmidi.py"
    meta["config"]["init_from"] = meta["identity"]["init_from"] = "/secret/c"
    weights.save(tmp_path / "a.safetensors", variables, meta)
    assert b"secret" not in (tmp_path / "a.safetensors").read_bytes()
    _, stored = weights.load(tmp_path / "a.safetensors")
    assert stored["config"]["data"]["dataset"] == "vgmidi"
    assert "/secret/a" in json.dumps(meta)


def piano(notes_per_second, level, rng, seconds=40, rate=22_050):
    """Struck tones of a few partials each, at random keys of the middle octaves."""
    samples = np.zeros(seconds * rate)
    t = np.arange(2 * rate) / rate
    for start in np.arange(0, seconds - 2, 1 / notes_per_second):
        pitch = 220 * 2 ** (rng.integers(0, 24) / 12)
        partials = sum(np.sin(2 * np.pi * k * pitch * t) / k**2 for k in range(1, 6))
        first = int(start * rate)
        samples[first : first + len(t)] += level * partials * np.exp(-3 * t)
    return np.clip(samples, -1, 1), rate


def test_the_shipped_weights_rate_fast_and_loud_as_more_arousing():
    predictor = predict.Predictor()
    calm, excited = (
        predictor.from_waveform(*piano(*sound, np.random.default_rng(0)))
        for sound in ((1, 0.03), (8, 0.15))
    )
    assert calm.shape == excited.shape == (80, 2)
    assert excited[:, 1].mean() > calm[:, 1].mean() + 0.2


# Data stored with the weights --------------------------------------------------------------------


def profile_of_noise(seed=0):
    rng = np.random.default_rng(seed)
    f, m = FEATURES.frames_per_segment, FEATURES.n_mels
    songs = [rng.normal(-40, rng.uniform(1, 9), (20, f, m)) for _ in range(120)]
    return Profile.of_songs(songs)


def test_the_profile_of_the_training_songs_goes_with_a_run_and_its_file(workdir, tmp_path):
    workdir, profile = shutil.copytree(workdir, tmp_path / "run"), profile_of_noise()
    assert weights.PROFILE not in weights.load(workdir)[0]
    weights.save_profile(workdir, profile)
    assert weights.main([str(workdir), str(tmp_path / "x.safetensors")]) == 0
    for path in (workdir, tmp_path / "x.safetensors"):
        variables, _ = weights.load(path)
        assert variables[weights.PROFILE].keys() == profile.arrays().keys()
        for name, array in profile.arrays().items():
            np.testing.assert_array_equal(variables[weights.PROFILE][name], array)


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_a_run_with_a_damaged_profile_predicts_with_a_warning(workdir, tmp_path, content):
    workdir = shutil.copytree(workdir, tmp_path / "run")
    weights.save_profile(workdir, profile_of_noise())
    path = workdir / "familiarity.safetensors"
    if content is None:
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
    path.write_bytes(content)
    with pytest.warns(CheckpointWarning, match=r"familiarity\.safetensors: .* are not detected"):
        variables, _ = weights.load(workdir)
    assert weights.PROFILE not in variables


def test_the_lag_goes_with_the_file(workdir, tmp_path):
    path = tmp_path / "x.safetensors"
    assert weights.main([str(workdir), str(path), "--lag_s=0.4"]) == 0
    assert predict.Predictor(path).lag_s == 0.4
    assert predict.Predictor(workdir).lag_s is None


def test_shipped_weights_have_names_unless_a_file_or_run_has_the_same(tmp_path, monkeypatch):
    names = weights.shipped()
    assert names.keys() >= {"damff_plus_vgmidi"} and pretrained.DEFAULT in names.values()
    monkeypatch.chdir(tmp_path)
    for name, path in names.items():
        assert_same(weights.load(name), weights.load(path))
    (tmp_path / "damff_plus_vgmidi").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        weights.load("damff_plus_vgmidi")


def test_a_model_of_embeddings_does_not_take_audio(workdir, tmp_path):
    variables, meta = weights.load(workdir)
    path = tmp_path / "x.safetensors"
    weights.save(path, variables, {**meta, "identity": {**meta["identity"], "heard": "0123"}})
    with pytest.raises(CheckpointError, match="embeddings, not audio"):
        predict.Predictor(path)


def test_curves_of_the_default_weights_are_flat_on_stationary_noise_from_its_start():
    rate, rng = 16_000, np.random.default_rng(0)
    curve_TxV = predict.Predictor().from_waveform(0.05 * rng.normal(size=30 * rate), rate)
    assert np.ptp(curve_TxV, axis=0).max() < 0.1
    assert np.abs(curve_TxV[:4] - curve_TxV[20:40].mean(axis=0)).max() < 0.05


def test_the_default_weights_recognise_what_is_not_a_song(tmp_path):
    rate, rng = 16_000, np.random.default_rng(0)
    t = np.arange(20 * rate) / rate
    sounds = {
        "noise": 0.1 * rng.normal(size=len(t)),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * t),
        "silence": np.zeros(len(t)),
        "piano": piano(4, 0.1, rng)[0],
    }
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        told = predict.Predictor()([tmp_path / f"{x}.wav" for x in sounds])
    unlikeness = {name: x.unlikeness for name, x in zip(sounds, told, strict=True)}
    assert unlikeness.pop("piano") < min(unlikeness.values())
    assert min(unlikeness.values()) > 1.5
