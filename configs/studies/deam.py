"""DEAM: the compared models, DAMFF at two resolutions, its ablations, and our variants.

Command: python -m damff_jax.study --config=configs/studies/deam.py --manual_dir=DIR --jobs=2
  DIR holds the folder deam, with the audio and the annotations in it, and for the rows
  embedding_bigru, damff_plus and damff_recipe a file msd_musicnn.npz (see
  input_pipeline/embeddings.py).
  --arg=--config.data.options.audio_start=30 for excerpts that begin at second 30 of the songs.
Protocols: five folds of the 1,744 clips, by song; and the 58 full songs, after training on all
  clips (release) or on the 431 of MediaEval 2015.
Hardware, wall time, scores: docs/results.md.
"""

from typing import Any

System = dict[str, Any]

N_FOLDS = 5
PROTOCOLS = {"cross_validation": tuple(range(N_FOLDS)), "release": (0,), "mediaeval2015": (0,)}


def get_study() -> dict[str, Any]:
    """The study; see `configs/studies/vgmidi.py` for what its entries mean.

    `protocols` replaces `folds`: the folds of each protocol, whose name replaces {protocol} in a
    command. A system that names protocols is run only in those.
    """
    return {
        "protocols": PROTOCOLS,
        "seeds": (0, 1, 2),
        "reference": "damff",
        "group": "",  # Songs are drawn individually.
        "systems": COMPARED | OURS | ABLATIONS,
    }


def trained(model: str, *arguments: str, config: str = "deam_reduced", **more: Any) -> System:
    command = ["train.py", f"--config=configs/{config}.py:{model}", "--config.seed={seed}"]
    command += ["--workdir={workdir}", "--config.data.options.protocol={protocol}"]
    command += ["--config.data.options.fold={fold}", f"--config.data.options.n_folds={N_FOLDS}"]
    command += ["--config.data.manual_dir={manual_dir}/deam", "--config.data.data_dir={data_dir}"]
    return {"command": [*command, *arguments], **more}


COMPARED = {
    **{
        model: trained(model)
        for model in ("constant", "ridge", "frame_bilstm", "cnn_bigru", "cnn_bilstm")
    },
    "embedding_bigru": trained(
        "embedding_bigru", "--config.data.heard={manual_dir}/msd_musicnn.npz"
    ),
    "aff": trained("damff", "--config.model.fusion=aff"),
    "damff": trained("damff"),
    # At the paper's own resolution, by the same recipe.
    "damff_paper": trained("damff", config="deam"),
}

TEACHER = "--config.data.teacher={manual_dir}/msd_musicnn.npz"

# Our model and recipe, and our recipe for the paper's model.
OURS = {
    "damff_plus": trained("damff_plus", TEACHER, config="deam_plus"),
    "damff_recipe": trained("damff", TEACHER, config="deam_plus"),
}

# DAMFF with one thing changed.
ABLATIONS = {
    name: trained("damff", f"--config.model.{change}", protocols=("cross_validation",))
    for name, change in {
        "branch_a": "branches=a",
        "branch_b": "branches=b",
        "sum": "fusion=sum",
        "concat": "fusion=concat",
        "channel_only": "fusion=channel",
        "spatial_only": "fusion=spatial",
        "no_bilstm": "sequence=none",
        "channel_join": "join=channel",
    }.items()
}
