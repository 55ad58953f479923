"""TensorFlow's SavedModel, by `jax2tf`: for TensorFlow and TensorFlow Serving."""

import os
from pathlib import Path

from damff_jax.export.program import INPUTS, OUTPUT, program, shapes
from damff_jax.export.stablehlo import PLATFORMS
from damff_jax.prediction.trained import Trained

FILE = "model"
NEEDS = "tensorflow"
IMPORTS = "import tensorflow as tf"
LOADING = f"""
model = tf.saved_model.load(str(folder / "{FILE}"))
apply = model.predict
"""
NOTES = f"""
`{FILE}` is a SavedModel with the function `predict(log_mel, mask)` and the signature
`serving_default`. It holds the model as StableHLO, so it runs in TensorFlow on CPU, CUDA and TPU,
but cannot become TensorFlow Lite or TensorFlow.js. Its numbers are those of the checkpoint to 1e-5.
"""


def write(folder: str | os.PathLike[str], trained: Trained) -> None:
    """Writes the model into a folder; needs TensorFlow.

    Raises:
      OSError: it cannot be written.
    """
    import tensorflow as tf
    from jax.experimental import jax2tf

    specs = shapes(trained.features)
    converted = jax2tf.convert(
        program(trained),
        polymorphic_shapes=[str(spec.shape) for spec in specs],
        native_serialization_platforms=PLATFORMS,
        with_gradient=False,
    )
    signature = [
        tf.TensorSpec([None, None, *spec.shape[2:]], spec.dtype.name, name)
        for name, spec in zip(INPUTS, specs, strict=True)
    ]
    module = tf.Module()
    module.predict = tf.function(converted, autograph=False, input_signature=signature)
    # By name, as TensorFlow Serving answers.
    named = tf.function(
        lambda log_mel, mask: {OUTPUT: converted(log_mel, mask)},
        autograph=False,
        input_signature=signature,
    )
    path = str(Path(folder) / FILE)
    tf.saved_model.save(module, path, signatures={"serving_default": named})
