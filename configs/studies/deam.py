"""DEAM in ten folds of songs: the compared models at the paper's setting, three seeds each.

Command: python -m damff_jax.study --config=configs/studies/deam.py --manual_dir=DIR
  DIR holds the folder deam, with the audio and the annotations in it.
  --arg=--config.data.options.protocol=mediaeval2015_cross_validation is the same of the 431 clips
  of MediaEval 2015; take another --study_dir.
Hardware, wall time, scores: not measured, DEAM's audio is the user's to download.
"""

from typing import Any


def get_study() -> dict[str, Any]:
    """The study; see `configs/studies/vgmidi.py` for what its entries mean."""
    return {
        "folds": tuple(range(10)),
        "seeds": (0, 1, 2),
        "reference": "damff",
        "group": "",  # Songs are drawn by themselves.
        "systems": {
            **{model: trained(model) for model in MODELS},
            "aff": trained("damff", "--config.model.fusion=aff"),
        },
    }


MODELS = ("constant", "ridge", "frame_bilstm", "cnn_bigru", "cnn_bilstm", "damff", "damff_plus")


def trained(model: str, *arguments: str) -> dict[str, Any]:
    command = ["train.py", f"--config=configs/deam.py:{model}", "--workdir={workdir}"]
    command += ["--config.seed={seed}", "--config.data.options.protocol=cross_validation"]
    command += ["--config.data.options.fold={fold}", "--config.data.options.n_folds=10"]
    command += ["--config.data.manual_dir={manual_dir}/deam", "--config.data.data_dir={data_dir}"]
    return {"command": [*command, *arguments]}
