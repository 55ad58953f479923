"""The training report: `report.html` of a run's workdir, made from the workdir's other files."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from damff_jax import configs
from damff_jax.configs import default, models
from damff_jax.report.pages import data_page, document, elements
from damff_jax.report.training import learning, model_card, predicted, verdict
from damff_jax.report.training.workdir import Workdir
from damff_jax.run import history
from damff_jax.run.train_log import format_seconds
from damff_jax.system.files import write_if_changed


def write(workdir: str | os.PathLike) -> None:
    """Writes report.html and model_card.md.

    Raises:
      OSError, ValueError: a file of the workdir is missing or damaged, or cannot be written.
    """
    run = Workdir.read(workdir)
    systems = verdict.compared(run, run.main_split)
    card = model_card.markdown(run, systems)
    evaluated = run.splits[run.main_split]
    bodies = (
        ("verdict", "Verdict", verdict.section(run, systems)),
        ("learning", "Learning", learning.section(run)),
        ("predictions", "Predicted and true", predicted.points(evaluated)),
        (
            "songs",
            f"Best, median and worst of the {run.main_split} songs",
            predicted.songs(evaluated),
        ),
        ("data", "Data", _data(run.facts["data"])),
        ("settings", "Settings", _settings(run.config)),
        ("card", "Model card", elements.code(card)),
        ("times", "Repeat it: command, versions, hardware, times", _times(run)),
    )
    title = f"Training report: {run.model} on {run.facts['data']['name']}"
    subtitle = f"{run.facts['n_parameters']:,} parameters, seed {run.config['seed']}"
    page = document.report(title, subtitle, [document.Section(*body) for body in bodies])
    write_if_changed(Path(workdir) / "report.html", page)
    write_if_changed(Path(workdir) / "model_card.md", card)


def _data(facts: Mapping[str, Any]) -> str:
    parts = (
        ("", data_page.songs),
        ("Labels", data_page.labels),
        ("Left out, cut off, repaired", data_page.left_out),
        ("Source", data_page.source),
    )
    return "".join(
        f"{elements.heading(title) if title else ''}{part(facts)}" for title, part in parts
    )


def _settings(config: Mapping[str, Any]) -> str:
    ours, defaults = configs.flat(config), configs.flat(_defaults(config))
    rows = [
        [name, _shown(value), _shown(defaults[name]) if name in defaults else "the data set's own"]
        for name, value in ours.items()
        if name not in defaults or value != defaults[name]
    ]
    head = ["setting", "this run", "default"]
    text = "No setting differs from the defaults."
    if rows:
        text = f"{len(rows)} of {len(ours)} settings differ from the defaults, or have none."
    every = elements.table(
        ["setting", "this run"], [[name, _shown(x)] for name, x in ours.items()],
        caption="All settings", numbers=False,
    )  # fmt: skip
    differing = elements.table(head, rows, caption="Settings that differ", numbers=False)
    return (
        elements.paragraph(text) + differing * bool(rows) + elements.details("All settings", every)
    )


def _defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of every setting, and of the model's."""
    name = config["model"]["name"]
    values = default.get_config(name if name in models.MODELS else "damff")
    return json.loads(values.to_json())


def _shown(value: Any) -> str:
    return value or "(none)" if isinstance(value, str) else json.dumps(value)


def _times(run: Workdir) -> str:
    if not run.starts:
        return elements.paragraph("Not recorded.")
    first = next((start for start in run.starts if start["mode"] == "train"), run.starts[0])
    last, parts = run.starts[-1], []
    if first["command"]:
        parts += [elements.paragraph("The command:"), elements.code(_command(first["command"]))]
    else:
        parts.append(elements.paragraph("The run was started from Python, by train.run."))
    rows = [
        [
            start["started"].replace("T", " ").partition(".")[0],
            start["mode"],
            _took(start),
            f"{start['device']['count']} × {start['device']['kind']}",
        ]
        for start in run.starts
    ]
    head = ["started (UTC)", "mode", "took (h:min:s)", "devices"]
    parts.append(elements.table(head, rows, caption="Starts", numbers=False))
    machine = f"{last['device']['processor']}, {last['device']['cores']} cores"
    found = [["processor", machine], *last["versions"].items()]
    parts.append(
        elements.table(["what", "version"], found, caption="Of the last start", numbers=False)
    )
    return "".join(parts)


def _command(argv: Sequence[str]) -> str:
    """A command line for a terminal: a script is started by Python, or by its installed name."""
    program, *arguments = argv
    started = ["python", program] if program.endswith(".py") else [Path(program).name]
    return shlex.join([*started, *arguments])


def _took(start: Mapping[str, Any]) -> str:
    seconds = history.seconds(start)
    return "interrupted" if seconds is None else format_seconds(seconds)
