"""A model card: what a run's model is, what it was trained on, how good it is, how to use it."""

import json
from collections.abc import Mapping

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.features import SEGMENT_SECONDS, FeatureConfig
from damff_jax.report.text import decimals
from damff_jax.report.training.comparison import Estimate, System
from damff_jax.report.training.workdir import Workdir

_PAPER = """\
@inproceedings{zhang2023damff,
  author = {Zhang, Liyue and Yang, Xinyu and Zhang, Yichi and Luo, Jing},
  title = {Dual Attention-based Multi-scale Feature Fusion Approach for Dynamic Music Emotion Recognition},
  booktitle = {Proceedings of the 24th International Society for Music Information Retrieval Conference},
  pages = {207--214}, year = {2023}, doi = {10.5281/zenodo.10265259}
}"""  # noqa: E501


def markdown(run: Workdir, systems: Mapping[str, System]) -> str:
    """The card as Markdown.

    Args:
      systems: this run's scores on the main split, the first one, and those of baselines.
    """
    name = f"{run.model} on {run.facts['data']['name']}"
    parts = [f"# {name}", _model(run), _training(run), _scores(run, systems), _trust(run), _use()]
    return "\n\n".join([*parts, _citation(run)]) + "\n"


def _model(run: Workdir) -> str:
    features = FeatureConfig(**run.config["features"])
    settings = json.dumps({k: v for k, v in run.config["model"].items() if k != "name"})
    return (
        f"**Model.** `{run.model}`, {run.facts['n_parameters']:,} parameters, "
        f"{run.config['dtype']}: from the sound of a song to its valence and arousal in [−1, 1], "
        f"every {SEGMENT_SECONDS} s. Settings: `{settings}`.\n\n"
        f"**Input.** Mono at {features.sample_rate:,} Hz; log-Mel spectrogram of "
        f"{features.n_mels} bins, {features.frames_per_segment} frames per segment."
    )


def _training(run: Workdir) -> str:
    data = run.facts["data"]
    counts = ", ".join(f"{len(ids):,} {split}" for split, ids in data["splits"].items())
    first, end = data["report"]["seconds_of_songs"]
    start = f" It started from `{run.config['init_from']}`." if run.config["init_from"] else ""
    return (
        f"**Training.** `{data['identity']}`: {counts} songs; seconds {first:g} to {end:g} of the "
        f"songs. Seed {run.config['seed']}; the checkpoint is that of step {run.facts['step']:,}."
        f"{start}"
    )


def _scores(run: Workdir, systems: Mapping[str, System]) -> str:
    head = "| system | " + " | ".join(f"{d}: CCC, RMSE" for d in DIMENSIONS) + " |"
    lines = [head, "|---|" + "---|" * len(DIMENSIONS)]
    for name, system in systems.items():
        cells = [
            ", ".join(_interval(system.scores[d, measure]) for measure in ("ccc", "rmse"))
            for d in DIMENSIONS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    n_songs = len(run.splits[run.main_split].curves)
    return (
        f"**Scores** on {n_songs:,} {run.main_split} songs, pooled, with 95 % intervals over songs:"
        "\n\n" + "\n".join(lines)
    )


def _interval(estimate: Estimate) -> str:
    numbers = [decimals(x) for x in estimate if x is not None]
    return numbers[0] if len(numbers) == 1 else f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"


def _trust(run: Workdir) -> str:
    if run.config["data"]["dataset"] == "synthetic":
        return (
            "**What to trust.** Nothing about real music: the songs are synthetic, and only show "
            "that the program works."
        )
    return (
        "**What to trust.** The scores hold for songs like those of the data set, rated as they "
        "were. Valence and arousal are means of listeners' ratings: neither facts about a song nor "
        "what one person feels."
    )


def _use() -> str:
    return (
        "**Use.**\n\n"
        "    damff-predict SONG --checkpoint=WORKDIR\n"
        "    damff-weights WORKDIR FILE.safetensors   # one file, to pass on"
    )


def _citation(run: Workdir) -> str:
    entries = "\n\n".join(filter(None, [_PAPER, run.facts["data"]["citation"]]))
    return (
        "**Citation.** The program, damff_jax, as in its CITATION.cff, and:\n\n"
        f"```bibtex\n{entries}\n```"
    )
