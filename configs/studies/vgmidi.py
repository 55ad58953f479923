"""VGMIDI by game: the compared models, DAMFF's ablations and its variants, three seeds each.

Command: python -m damff_jax.study --config=configs/studies/vgmidi.py --manual_dir=DIR --jobs=2
  DIR holds the folders vgmidi and emopia. `--systems=human_half,human_one,constant,ridge,damff,
  damff_plus` is the reduced study.
"""

from typing import Any

System = dict[str, Any]


def get_study() -> dict[str, Any]:
    """The study.

    Returns:
      folds, seeds: each system runs on all of them.
      reference: the system that the others are compared with.
      group: a pattern for song ids; songs for which its group matches the same text are drawn
        together by the bootstrap.
      systems: by name. `command` has arguments for Python, in which {fold}, {seed} and {workdir}
        are replaced by those of the run, {manual_dir} and {data_dir} by the given folders, and
        {init_from} by the workdir of the system named by `init_from`, which runs first. A system
        with `pretraining` has no row in the table.
    """
    return {
        "folds": (0, 1, 2),
        "seeds": (0, 1, 2),
        "reference": "damff",
        "group": r".*_([^_]*)_[^_]*",
        "systems": COMPARED | ABLATIONS | VARIANTS,
    }


def human(kind: str) -> System:
    command = ["-m", "input_pipeline.vgmidi.raters", f"--kind={kind}"]
    command += ["--manual_dir={manual_dir}/vgmidi", "--fold={fold}", "--seed={seed}"]
    return {"command": [*command, "--workdir={workdir}"]}


def trained(model: str, *arguments: str, config: str = "vgmidi", **more: Any) -> System:
    command = ["train.py", f"--config=configs/{config}.py:{model}", "--config.seed={seed}"]
    command += [f"--config.data.manual_dir={{manual_dir}}/{config.removesuffix('_augmented')}"]
    command += ["--config.data.data_dir={data_dir}", "--workdir={workdir}"]
    if config != "emopia":
        command += ["--config.data.options.fold={fold}"]
    return {"command": [*command, *arguments], **more}


def augmented(model: str, *arguments: str, **more: Any) -> System:
    return trained(model, *arguments, config="vgmidi_augmented", **more)


def averaged(system: str) -> System:
    """The predictions of another row, averaged over time like those of `damff_plus`."""
    command = ["-m", "damff_jax.study.averaged", "--of={init_from}", "--workdir={workdir}"]
    return {"command": [*command, "--width=21", "--delay=6"], "init_from": system}


COMPARED = {
    "human_half": human("half"),
    "human_one": human("one"),
    **{
        model: trained(model)
        for model in (
            "constant",
            "ridge",
            "frame_bilstm",
            "cnn_bigru_small",
            "cnn_bigru",
            "cnn_bilstm",
        )
    },
    "aff": trained("damff", "--config.model.fusion=aff"),
    "damff": trained("damff"),
}

# DAMFF with one thing changed.
ABLATIONS = {
    "branch_a": trained("damff", "--config.model.branches=a"),
    "branch_b": trained("damff", "--config.model.branches=b"),
    "sum": trained("damff", "--config.model.fusion=sum"),
    "concat": trained("damff", "--config.model.fusion=concat"),
    "channel_only": trained("damff", "--config.model.fusion=channel"),
    "spatial_only": trained("damff", "--config.model.fusion=spatial"),
    "no_bilstm": trained("damff", "--config.model.sequence=none"),
    "channel_join": trained("damff", "--config.model.join=channel"),
    "squeeze_8": trained("damff", "--config.model.squeeze_channels=8"),
    "mse": trained("damff", "--config.loss.ccc_pooled=0.0", "--config.loss.mse=1.0"),
}

# Steps from the paper's DAMFF to ours: averaging the output, the model (more channels, and
# averaging), the recipe (altered renderings, more steps, another loss).
VARIANTS = {
    "damff_averaged": averaged("damff"),
    "damff_augmented": augmented("damff"),
    "damff_augmented_averaged": averaged("damff_augmented"),
    "cnn_bigru_augmented": augmented("cnn_bigru"),
    "cnn_bigru_augmented_averaged": averaged("cnn_bigru_augmented"),
    "damff_plus_plain": trained("damff_plus"),
    "damff_plus": augmented("damff_plus"),
    "emopia": trained("damff_plus", config="emopia", pretraining=True),
    "damff_plus_pretrained": augmented(
        "damff_plus", "--config.init_from={init_from}", init_from="emopia"
    ),
}
