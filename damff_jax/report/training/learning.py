"""The section of a training report on how the run went: curves over the steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.report.charts import axes
from damff_jax.report.charts.axes import Axis
from damff_jax.report.charts.chart import Chart
from damff_jax.report.pages import elements
from damff_jax.report.training.workdir import Workdir


def section(run: Workdir) -> str:
    """Loss, CCC, learning rate and gradient norm over the steps, and the chosen step."""
    if not run.events:
        return elements.paragraph("This run logged nothing: it had no validation songs.")
    steps = np.array([event["step"] for event in run.events])
    is_solved = "train/loss" not in run.events[0]
    x = axes.linear([0, steps.max()], "candidate" if is_solved else "step")
    charts = [_ccc(run, x)] if is_solved else [_loss(run, x), _ccc(run, x), _rate(run, x)]
    charts += [] if is_solved else [_gradient(run, x), *_skipped(run, x)]
    return elements.paragraph(_text(run, is_solved)) + elements.grid(charts, "pairs")


def _text(run: Workdir, is_solved: bool) -> str:
    scored = run.validation_events()
    chosen = next((event for event in scored if event["step"] == run.facts["step"]), None)
    score = "" if chosen is None else f", with a mean validation CCC of {_mean_ccc(chosen):.3f}"
    if is_solved:
        return (
            f"The solution is in closed form; validation chose candidate {run.facts['step']} of "
            f"{len(scored)}{score}."
        )
    why = "the last one, because there were no validation songs"
    if scored:
        why = {
            "best": "the best of the steps that were validated",
            "latest": "the last one, as select=latest asks",
        }[run.config["select"]]
    return (
        f"The evaluated checkpoint is that of step {run.facts['step']:,} of "
        f"{run.config['num_train_steps']:,}, {why}{score}. {_of_skipped(run)}"
    )


def _of_skipped(run: Workdir) -> str:
    counts = _series(run.events, "train/skipped")[1]
    n = int(counts.max()) if len(counts) else 0
    if not n:
        return "No step was skipped."
    return f"{n} step{'s' if n > 1 else ''} had a loss or gradient that was not finite: skipped."


def _mean_ccc(event: Mapping[str, Any]) -> float:
    return float(np.mean([event[f"validation/{name}/ccc"] for name in DIMENSIONS]))


def _loss(run: Workdir, x: Axis) -> str:
    train, validation = (_series(run.events, f"{part}/loss") for part in ("train", "validation"))
    y = axes.linear([0, *train[1], *validation[1]], "loss")
    chart = _chart(run, "Loss over the steps", x, y)
    chart.line(*train, "plain faint", name="training crops")
    if len(validation[0]):
        chart.line(*validation, "ours", name="validation songs", dots=True)
    return elements.figure(chart.svg(), f"Loss: {_terms(run.config['loss'])}.")


def _terms(weights: Mapping[str, float]) -> str:
    words = {
        "mse": "mean squared error",
        "ccc_pooled": "1 − pooled CCC",
        "ccc_per_crop": "1 − mean CCC of crops",
        "ccc_within": "1 − CCC within crops",
        "teacher": "error to the teacher (training only)",
    }
    used = {words.get(name, name): weight for name, weight in weights.items() if weight}
    return " + ".join(
        f"{weight:g} · ({word})" if weight != 1 else word for word, weight in used.items()
    )


def _ccc(run: Workdir, x: Axis) -> str:
    series = {
        (part, name): _series(run.events, f"{part}/{name}/ccc")
        for part in ("train", "validation")
        for name in DIMENSIONS
    }
    values = np.concatenate([[0.0, 1.0], *(y for _, y in series.values())])
    chart = _chart(run, "Pooled CCC over the steps", x, axes.linear(values, "CCC, pooled"))
    for (part, name), points in series.items():
        if part == "validation":
            chart.line(*points, name, name=name, dots=True)
        else:
            chart.line(*points, f"{name} faint")
    has_train = any(len(x) for (part, _), (x, _) in series.items() if part == "train")
    faint = "; faint: of a step's training crops" if has_train else ""
    return elements.figure(chart.svg(), f"CCC of the validation songs{faint}.")


def _rate(run: Workdir, x: Axis) -> str:
    points = _series(run.events, "train/learning_rate")
    chart = _chart(run, "Learning rate", x, axes.linear([0, *points[1]], "learning rate"))
    chart.line(*points, "plain")
    schedule, warmup = (run.config["optim"][name] for name in ("schedule", "warmup_fraction"))
    return elements.figure(
        chart.svg(), f"Learning rate: {schedule}, after a warm-up over {warmup:.0%} of the steps."
    )


def _gradient(run: Workdir, x: Axis) -> str:
    points, limit = _series(run.events, "train/grad_norm"), run.config["optim"]["clip_norm"]
    y = axes.logarithmic([*points[1], *([limit] if limit else [])], "gradient norm")
    chart = _chart(run, "Norm of the gradient", x, y)
    chart.line(*points, "plain")
    text = "Norm of the gradient before clipping"
    if limit:
        ends = np.array([x.low, x.high])
        chart.line(ends, np.full(2, limit), "guide", name="clipped above")
        share = float(np.mean(points[1] > limit)) if len(points[1]) else 0.0
        text += f", above {limit:g} in {share:.0%} of the logged steps"
    return elements.figure(chart.svg(), f"{text}.")


def _skipped(run: Workdir, x: Axis) -> list[str]:
    points = _series(run.events, "train/skipped")
    if not points[1].any():
        return []
    chart = _chart(run, "Skipped steps", x, axes.linear([0, *points[1]], "skipped so far"))
    chart.line(*points, "plain")
    return [elements.figure(chart.svg(), "Steps skipped so far, because they were not finite.")]


def _chart(run: Workdir, label: str, x: Axis, y: Axis) -> Chart:
    chart = Chart(label, x, y)
    chart.vertical(run.facts["step"], name="evaluated")
    return chart


def _series(events: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the events that have a value."""
    found = [(event["step"], event[name]) for event in events if name in event]
    steps, values = np.array(found, float).reshape(-1, 2).T
    return steps, values
