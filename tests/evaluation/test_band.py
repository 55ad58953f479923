"""A band holds the share of ratings that it says, also of songs that it was not calibrated by."""

import json

import numpy as np
import pytest

from damff_jax import Predictor, band, weights
from damff_jax.evaluation import predictions
from damff_jax.evaluation.band import Errors, coverage
from damff_jax.evaluation.metrics import Curve
from damff_jax.run.checkpoint_errors import CheckpointWarning
from tests.prediction.test_weights import META, small_state


def songs(n, seed=0, n_segments=10, spread=0.1):
    """Curves whose errors depend on their level: ratings lie towards 0, and scatter where low.

    Errors of a song are alike: it has an offset of its own.
    """
    rng = np.random.default_rng(seed)
    curves = {}
    for i in range(n):
        prediction = np.clip(
            rng.normal(0, 0.4, 2) + rng.normal(0, 0.05, (n_segments, 2)), -0.9, 0.9
        )
        scale = spread * (1.5 - prediction)
        truth = 0.7 * prediction + scale * (
            rng.normal(0, 0.8, 2) + rng.normal(0, 0.6, prediction.shape)
        )
        mask = rng.random(prediction.shape) < 0.9
        curves[str(i)] = Curve(prediction, np.where(mask, truth, 9.0), mask)
    return curves


@pytest.fixture(scope="module")
def many():
    return songs(1500)


def test_a_band_holds_80_percent_of_the_ratings_of_other_songs_at_every_level(many):
    checked = coverage(many)
    for x in checked.values():
        assert 0.77 < x.share < 0.83
        assert np.all((x.share_by_part > 0.75) & (x.share_by_part < 0.85))
    for x in coverage(many, songs(1500, seed=1)).values():
        assert 0.75 < x.share < 0.85
    # Songs with twice the scatter are not held: the check can fail.
    assert coverage(many, songs(1500, seed=1, spread=0.2))["valence"].share < 0.6


def test_coverage_and_width_are_those_of_the_limits():
    """Recomputed for songs without a missing rating, whose errors are known."""
    curves = {}
    for i in range(20):
        x = np.full((10, 2), (i - 9.5) / 10)
        # Errors of −0.1 and, for one in ten, of 0.5.
        curves[str(i)] = Curve(x, x + np.where(np.arange(10) == 0, 0.5, -0.1)[:, None], x < 2)
    errors = Errors.of_curves(list(curves.values()))
    assert (errors.level, errors.n_songs, errors.low_VxK.shape) == (0.8, 20, (2, 1))
    np.testing.assert_allclose(errors.low_VxK, -0.1)
    low_TxV, high_TxV = errors.limits(np.float32([[0.0, 0.5], [-0.95, 1.0]]))
    np.testing.assert_allclose(low_TxV, [[-0.1, 0.4], [-1.0, 0.9]], atol=1e-6)
    assert low_TxV.dtype == high_TxV.dtype == np.float32
    assert np.all(high_TxV >= low_TxV) and high_TxV.max() <= 1


def test_the_limits_between_parts_are_interpolated_and_have_no_steps(many):
    errors = Errors.of_curves(list(many.values()))
    x_T = np.linspace(-1, 1, 401)
    for limit_TxV in errors.limits(np.stack([x_T, x_T], axis=1)):
        assert np.abs(np.diff(limit_TxV, axis=0)).max() < 0.02


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_few_songs_give_no_band(n):
    assert Errors.of_curves(list(songs(n).values())) is None
    assert coverage(songs(n)) is None


def test_a_dimension_without_ratings_and_a_constant_curve_have_no_band_or_a_finite_one():
    x = np.zeros((10, 2))
    rated = Curve(x, x + 0.1, np.ones((10, 2), bool))
    errors = Errors.of_curves([rated] * 100)
    np.testing.assert_allclose(errors.limits(x), 0.1, atol=1e-6)
    arousal_only = Curve(x, x, np.broadcast_to([False, True], x.shape))
    assert Errors.of_curves([arousal_only] * 100) is None


def test_errors_come_back_from_json(many):
    errors = Errors.of_curves(list(many.values()))
    read = Errors.from_json(json.loads(json.dumps(errors.to_json())))
    assert (read.level, read.n_songs) == (errors.level, 1500)
    np.testing.assert_allclose(read.low_VxK, errors.low_VxK, atol=5e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"level": 2},
        {"level": "x"},
        {"valence": None},
        {"arousal": {"prediction": [0.0], "low": [0.0]}},
        {"arousal": {"prediction": [0.0], "low": [np.nan], "high": [0.0]}},
        {"arousal": {"prediction": [0.0, 1.0], "low": [0.0, 0.0], "high": [0.0, 0.0]}},
        {name: {"prediction": [1.0, 0.0], "low": [0, 0], "high": [1, 1]}
         for name in ("valence", "arousal")},
    ],
)  # fmt: skip
def test_json_that_is_something_else_is_refused(change):
    table = {"prediction": [0.0], "low": [-0.1], "high": [0.1]}
    good = {"level": 0.8, "n_songs": 20, "valence": table, "arousal": table}
    Errors.from_json(good)
    with pytest.raises(ValueError, match="not the errors of a model"):
        Errors.from_json(good | change)


# In files -------------------------------------------------------------------------------------


def write(path, curves):
    times = {song_id: 0.5 * np.arange(len(x.prediction_TxV)) for song_id, x in curves.items()}
    predictions.write(path, curves, times)
    return str(path)


def test_the_command_prints_the_coverage_of_several_files_together(tmp_path, capsys):
    curves = songs(300)
    halves = [{i: x for i, x in curves.items() if int(i) % 2 == half} for half in range(2)]
    files = [write(tmp_path / f"{half}.csv", halves[half]) for half in range(2)]
    assert band.main(files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "300 songs, a band of 80%: ratings inside, of songs left out"
    assert lines[2].startswith("valence  ") and 75 < float(lines[2].split()[1][:-1]) < 85
    assert band.main([files[0], f"--check={files[1]}"]) == 0
    assert "inside, of 150 others" in capsys.readouterr().out
    assert band.main([files[0], files[0]]) == 1
    assert capsys.readouterr().err.endswith("0.csv: song 0 is in another of the files too\n")
    assert band.main([write(tmp_path / "few.csv", songs(9))]) == 1
    assert capsys.readouterr().err == "band: error: 9 songs are too few to calibrate a band\n"


def test_weights_get_a_band_and_nothing_else_of_them_changes(tmp_path, capsys):
    before, after = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    weights.save(before, small_state().eval_variables(), {**META, "step": 0, "score": None})
    file = write(tmp_path / "x.csv", songs(40))
    assert weights.main([str(before), str(after), "--band", file]) == 0
    (old, old_meta), (new, new_meta) = weights.load(before), weights.load(after)
    table = new_meta.pop(weights.BAND)
    assert new_meta == old_meta and table["n_songs"] == 40
    for collection, values in old.items():
        np.testing.assert_equal(new[collection], values)
    assert not Predictor(before).has_band and Predictor(after).has_band
    assert weights.main([str(before), str(after), "--band", str(tmp_path / "none.csv")]) == 1
    assert capsys.readouterr().err.endswith("none.csv: No such file or directory\n")


def test_a_run_has_the_band_of_its_validation_songs(tmp_path):
    assert weights._validation_errors(tmp_path) is None
    path = tmp_path / "predictions_validation.csv"
    write(path, songs(20))
    assert weights._validation_errors(tmp_path).n_songs == 20
    path.write_text("song_id\n")
    with pytest.warns(CheckpointWarning, match=r"predictions_validation.csv: .*have no band"):
        assert weights._validation_errors(tmp_path) is None


def test_the_default_weights_have_a_band():
    _, meta = weights.load("damff_plus_deam")
    errors = Errors.from_json(meta[weights.BAND])
    assert (errors.level, errors.n_songs) == (0.8, 1744)
    low_TxV, high_TxV = errors.limits(np.zeros((1, 2)))
    assert np.all((high_TxV - low_TxV > 0.3) & (high_TxV - low_TxV < 0.7))
