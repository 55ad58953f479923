"""What lies beside an exported model: its settings, a model card, and an example that loads it.

The example computes a song's curve by the same code as this package, of which it gets two modules
that need nothing but NumPy.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import damff_jax
from damff_jax import features, pretrained
from damff_jax.evaluation import inference
from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.prediction.trained import Trained
from damff_jax.system.files import atomic_write

SETTINGS, CARD, EXAMPLE = "settings.json", "README.md", "example.py"
_MODULES = (features, inference)

_EXAMPLE = '''"""The curve of a song by the exported model: python {example} SONG.wav"""

import json
import sys
from pathlib import Path

{imports}
import soundfile
import soxr
from features import FeatureConfig, log_mel, segments
from inference import Windowing, predict_curves

folder = Path(__file__).parent
settings = json.loads((folder / "{settings}").read_text(encoding="utf-8"))
features = FeatureConfig.from_json(settings["features"])
{loading}
samples, rate = soundfile.read(sys.argv[1], dtype="float32", always_2d=True)
samples = soxr.resample(samples.mean(axis=1), rate, features.sample_rate)
song = segments(log_mel(samples, features), features)
windowing = Windowing(**settings["windowing"])
(curve,) = predict_curves(apply, [[song]], windowing=windowing, batch_size=4)
print("time_s,valence,arousal")
for row, (valence, arousal) in enumerate(curve):
    print(f"{{row * settings['output']['hop_s']:.1f}},{{valence:.6f}},{{arousal:.6f}}")
'''

_CARD = """# {name}

A model of the valence and arousal of music over time, {origin}. Exported by damff_jax {version}.

    pip install {needs} numpy soundfile soxr
    python {example} SONG.wav

{example} prints the song's curve. {settings} has the settings: of the log-Mel spectrogram, which
is the input, of the windows into which a song is cut, and of the output. features.py and
inference.py are those of damff_jax, under the Apache License 2.0.
{notes}
Inputs: log-Mel in dB, float32 (batch, time, {f}, {m}), and a mask, bool (batch, time), which is
false at padding. Output: float32 (batch, time, 2), valence and arousal, in [-1, 1] after clipping,
a value per segment of {hop} s.
"""


def write(folder: str | os.PathLike[str], trained: Trained, kind: ModuleType) -> None:
    """Writes the files beside an exported model.

    Args:
      folder: where the model lies.
      kind: the module of its format, with what is said about it.

    Raises:
      OSError: a file cannot be written.
    """
    folder = Path(folder)
    _write(folder / SETTINGS, json.dumps(settings(trained), indent=2, allow_nan=False) + "\n")
    _write(folder / CARD, _card(trained, kind))
    loading = kind.LOADING.strip()
    example = _EXAMPLE.format(
        example=EXAMPLE, settings=SETTINGS, imports=kind.IMPORTS, loading=loading
    )
    _write(folder / EXAMPLE, example)
    for module in _MODULES:
        assert module.__file__ is not None
        shutil.copyfile(module.__file__, folder / Path(module.__file__).name)


def settings(trained: Trained) -> dict[str, Any]:
    """What a program needs to know to use the model, as JSON."""
    frames, mels = trained.features.frames_per_segment, trained.features.n_mels
    return {
        "name": trained.name,
        "origin": trained.origin,
        "version": f"damff_jax {damff_jax.__version__}",
        "features": trained.features.to_json(),
        "windowing": dataclasses.asdict(trained.windowing),
        "input": {
            "log_mel": {"shape": ["batch", "time", frames, mels], "type": "float32", "unit": "dB"},
            "mask": {"shape": ["batch", "time"], "type": "bool"},
        },
        "output": {
            "shape": ["batch", "time", len(DIMENSIONS)],
            "type": "float32",
            "names": list(DIMENSIONS),
            "scale": [-1, 1],
            "hop_s": SEGMENT_SECONDS,
            "time_origin": "start of the file; a time is the start of its segment",
        },
        "lag_s": trained.lag_s,
        "band": trained.errors and trained.errors.to_json(),
    }


def _card(trained: Trained, kind: ModuleType) -> str:
    card = _CARD.format(
        name=trained.name,
        origin=trained.origin,
        version=damff_jax.__version__,
        needs=kind.NEEDS,
        notes=kind.NOTES,
        example=EXAMPLE,
        settings=SETTINGS,
        f=trained.features.frames_per_segment,
        m=trained.features.n_mels,
        hop=SEGMENT_SECONDS,
    )
    if weights := pretrained.shipped().get(trained.name):
        original = weights.with_suffix(".md").read_text(encoding="utf-8")
        card += f"\n## The weights\n\n{original.partition(chr(10))[2].strip()}\n"
    return card


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text)
