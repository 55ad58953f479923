"""The training report, from the files of a workdir that no training has made."""

import json
import re

import numpy as np
import pytest

from damff_jax.configs import synthetic
from damff_jax.evaluation import metrics, predictions
from damff_jax.evaluation.label_summary import LabelSummary, plane_counts
from damff_jax.evaluation.metrics import Curve
from damff_jax.report.pages import training_page
from damff_jax.report.training import comparison
from damff_jax.report.training.workdir import write_facts
from tests.report.checks import check, section


def songs_of(names, *, n=30, noise=0.2, seed=0):
    """Random songs that a model predicts with some error."""
    rng = np.random.default_rng(seed)
    curves = {}
    for name in names:
        truth = np.clip(rng.normal(0, 0.4, 2) + 0.1 * rng.normal(size=(n, 2)), -1, 1)
        prediction = np.clip(truth + rng.normal(0, noise, 2) + 0.05, -1, 1)
        curves[name] = Curve(prediction, truth, np.ones((n, 2), bool))
    return curves


def facts_of(curves, splits):
    """The facts of a data set that has these songs."""
    labels = {s: LabelSummary.of(0.0, c.truth_TxV, c.mask_TxV) for s, c in curves.items()}
    plane = sum(plane_counts(c.truth_TxV, c.mask_TxV) for c in curves.values())
    n_segments = {song: len(curve.mask_TxV) for song, curve in curves.items()}
    report = {
        "n_songs": len(curves),
        "n_segments": sum(n_segments.values()),
        "seconds_of_songs": [0.0, 15.0],
        "n_cut_off": {"before": 0, "past": 3},
        "failed": {"broken": "broken.wav: not readable as audio"},
        "left_out": {"labels without audio": ["gone <1>"]},
        "notes": {"decoder warnings": ["a"]},
        "labels": {song: summary.to_json() for song, summary in labels.items()},
        "plane": plane.tolist(),
        "build_seconds": 7.0,
    }
    return {
        "name": "tiny",
        "identity": "tiny/1/2",
        "description": "**Tiny.** Songs & `more`.",
        "citation": "@article{tiny}",
        "report": report,
        "n_segments": n_segments,
        "splits": splits,
    }


TRAIN = songs_of(["t1", "t2", "t3"], seed=1)
EVENTS = [
    {"step": 10, "train/loss": 0.9, "train/grad_norm": 3.0, "train/learning_rate": 1e-3}
    | {"train/skipped": 0.0, "train/valence/ccc": 0.1, "train/arousal/ccc": 0.2},
    {"step": 20, "validation/loss": 0.5, "validation/valence/ccc": 0.4}
    | {"validation/arousal/ccc": 0.6},
    {"step": 20, "train/loss": 0.4, "train/grad_norm": 0.5, "train/learning_rate": 1e-4}
    | {"train/skipped": 2.0, "train/valence/ccc": 0.5, "train/arousal/ccc": 0.6},
]


def workdir_of(path, test, *, events=EVENTS, model="damff", step=20, **changes):
    """A workdir with these test songs."""
    path.mkdir(parents=True, exist_ok=True)
    config = synthetic.get_config(model)
    config.update_from_flattened_dict(changes)
    (path / "config.json").write_text(config.to_json())
    (path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    times = {song: 0.5 * np.arange(len(curve.mask_TxV)) for song, curve in test.items()}
    predictions.write(path / "predictions_test.csv", test, times)
    (path / "evaluation.json").write_text(json.dumps({"test": metrics.summarize(test)}))
    data = facts_of({**TRAIN, **test}, {"train": list(TRAIN), "test": list(test)})
    write_facts(path, step=step, n_parameters=12_345, data=data)
    return path


def report_of(path):
    training_page.write(path)
    return (path / "report.html").read_text()


TEST = songs_of([f"song {i}" for i in range(8)])


def test_the_verdict_has_the_scores_their_intervals_and_the_constants(tmp_path):
    page = report_of(workdir_of(tmp_path, TEST))
    text = check(page)
    summary = metrics.summarize(TEST)
    mean_V = np.concatenate([c.truth_TxV for c in TRAIN.values()]).mean(axis=0)
    truth = np.concatenate([c.truth_TxV for c in TEST.values()])
    for v, name in enumerate(metrics.DIMENSIONS):
        scores = [
            summary[name][way][score]
            for way, score in (("pooled", "ccc"), ("pooled", "rmse"), ("within_song", "ccc"))
        ]
        row = re.search(rf"{name}, this run (\S+) \S+ \S+ (\S+) \S+ \S+ (\S+)", text)
        np.testing.assert_allclose([float(x) for x in row.groups()], scores, atol=6e-4)
        constant = re.search(rf"{name}, constant 0.000 (\S+) \[", text)
        expected = np.sqrt(np.mean((truth[:, v] - mean_V[v]) ** 2))
        assert float(constant[1]) == pytest.approx(expected, abs=6e-4)
    assert text.count("the constant: RMSE −") == 2 and "On 8 songs." in text
    assert "These songs are synthetic" in text and "12,345 parameters, seed 0" in text


def test_intervals_equal_those_of_a_bootstrap_that_joins_the_songs_drawn():
    systems = {"ours": TEST, "constant": comparison.constant(TEST, np.array([0.1, -0.2]))}
    compared = comparison.compare(systems)
    rng = np.random.default_rng(0)
    songs, drawn = list(TEST), rng.integers(len(TEST), size=(comparison.N_RESAMPLES, len(TEST)))
    scores = []
    for draw in drawn:
        joined = [
            np.concatenate([systems[name][songs[i]].prediction_TxV[:, 1] for i in draw])
            for name in systems
        ]
        truth = np.concatenate([TEST[songs[i]].truth_TxV[:, 1] for i in draw])
        scores.append([np.sqrt(np.mean((x - truth) ** 2)) for x in joined])
    ours, theirs = np.transpose(scores)
    expected = np.percentile(ours, [2.5, 97.5])
    np.testing.assert_allclose(compared["ours"].scores["arousal", "rmse"][1:], expected)
    expected = np.percentile(ours - theirs, [2.5, 97.5])
    np.testing.assert_allclose(compared["constant"].lead["arousal", "rmse"][1:], expected)
    assert compared["ours"].lead["arousal", "ccc"] == (0.0, None, None)
    assert compared["constant"].scores["valence", "ccc"].low is None


def test_few_songs_have_no_intervals(tmp_path):
    text = check(report_of(workdir_of(tmp_path, songs_of("ab"))))
    assert "2 songs are too few for intervals" in text and "beside the constant" in text


def test_ridge_regression_is_shown_if_it_was_run_on_the_same_songs(tmp_path):
    ours = workdir_of(tmp_path / "runs" / "tiny", TEST)
    assert "ridge, from" not in report_of(ours) and ">ridge<" not in report_of(ours)
    ridge = songs_of(TEST, noise=0.6)
    workdir_of(tmp_path / "runs" / "tiny-ridge", ridge, model="ridge")
    text = check(report_of(ours))
    assert "valence, ridge" in text and "Better than ridge: pooled CCC +" in text
    # In a study's folders; and not with other labels.
    in_study = workdir_of(tmp_path / "study" / "damff" / "fold0_seed0", TEST)
    workdir_of(tmp_path / "study" / "ridge" / "fold0_seed0", songs_of(TEST, seed=5), model="ridge")
    assert "valence, ridge" not in check(report_of(in_study))
    workdir_of(tmp_path / "study" / "ridge" / "fold0_seed0", ridge, model="ridge")
    assert "valence, ridge" in check(report_of(in_study))


def test_learning_names_the_step_its_score_and_the_skipped_steps(tmp_path):
    page = section(report_of(workdir_of(tmp_path, TEST)), "learning")
    assert "step 20 of 120, the best of the steps that were validated" in page
    assert "mean validation CCC of 0.500" in page and "2 steps had a loss" in page
    labels = ("Loss over the steps", "Pooled CCC", "Learning rate", "Norm of", "Skipped steps")
    assert all(f'aria-label="{label}' in page for label in labels)
    assert "validation songs" in page and "above 1 in 50%" in page


@pytest.mark.parametrize(
    ("events", "model", "text"),
    [
        ([], "ridge", "This run logged nothing"),
        (EVENTS[1:2], "ridge", "validation chose candidate 20 of 1"),
        (EVENTS[:1], "damff", "because there were no validation songs"),
    ],
)
def test_runs_without_steps_or_validation_have_a_report(tmp_path, events, model, text):
    assert text in check(report_of(workdir_of(tmp_path, TEST, events=events, model=model)))


def test_a_constant_has_a_report(tmp_path):
    constant = comparison.constant(TEST, np.array([0.123456789, -0.3]))
    text = check(report_of(workdir_of(tmp_path, constant, model="constant", step=1)))
    assert "This run is the constant" in text and "beyond the axis" not in text


def test_songs_are_ranked_by_their_error(tmp_path):
    page = section(report_of(workdir_of(tmp_path, TEST)), "songs")
    error = {
        song: np.sqrt(np.mean((c.prediction_TxV - c.truth_TxV) ** 2)) for song, c in TEST.items()
    }
    ranked = sorted(error, key=error.get)
    headings = re.findall(r"<h3>(.*?)</h3>", page)
    assert headings == [f"Best: {ranked[0]}", f"Median: {ranked[3]}", f"Worst: {ranked[-1]}"]
    rows = re.findall(r'<th scope="row"><bdi>(.*?)</bdi></th>', page)
    assert rows == ranked and page.count("<svg") == 6


def test_names_are_escaped_and_labels_may_be_missing(tmp_path):
    name = "<script>alert('x')</script> & \"quotes\""
    songs = songs_of([name, "b"])
    songs[name].mask_TxV[:, 0] = False
    songs["b"].mask_TxV[3:9] = False
    page = report_of(workdir_of(tmp_path, songs))
    assert name in check(page) and "no labels" in page


def test_settings_that_differ_and_the_data_report_are_there(tmp_path):
    page = report_of(workdir_of(tmp_path, TEST, **{"optim.learning_rate": 0.125}))
    row = '<th scope="row"><bdi>optim.learning_rate</bdi></th><td>0.125</td><td>0.001</td>'
    assert row in section(page, "settings")
    data = section(page, "data")
    assert "labels without audio" in data and "gone &lt;1&gt;" in data
    assert "<strong>Tiny.</strong> Songs &amp; <code>more</code>." in data
    card = (tmp_path / "model_card.md").read_text()
    assert "zhang2023damff" in card and "@article{tiny}" in card and "12,345 parameters" in card


def test_long_songs_and_many_songs_make_no_long_page(tmp_path):
    many = songs_of([f"s{i}" for i in range(300)], n=4) | songs_of(["long"], n=21_600)
    assert len(report_of(workdir_of(tmp_path, many))) < 400_000


def test_a_report_that_is_there_is_not_written_again(tmp_path):
    path = workdir_of(tmp_path, TEST)
    page, before = report_of(path), (path / "report.html").stat().st_mtime_ns
    assert report_of(path) == page and (path / "report.html").stat().st_mtime_ns == before


def test_a_damaged_workdir_is_an_error_that_names_the_file(tmp_path):
    path = workdir_of(tmp_path, TEST)
    (path / "predictions_test.csv").write_text("x\n")
    with pytest.raises(ValueError, match=r"predictions_test\.csv: the columns"):
        training_page.write(path)
