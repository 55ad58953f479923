"""Exports a trained model for other programs: `python -m damff_jax.export --output_dir=DIR`.

Writes a folder per format, with the model, its settings as JSON, a model card, and an example that
loads it. The formats are `stablehlo`, the default, for JAX on CPU, CUDA and TPU; `saved_model` for
TensorFlow; and `onnx` for ONNX Runtime.

Exit status: 0 done, 1 the model cannot be exported or written, 2 wrong usage.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from damff_jax.system import extras
from damff_jax.system.command_line import Parser, printable, program
from damff_jax.system.places import local
from damff_jax.system.terminal import robust

_PROGRAM = program("export")
# Formats, each a module of this package, and the extra that it needs.
FORMATS = {"stablehlo": None, "saved_model": "train", "onnx": "onnx"}


@robust(_PROGRAM)
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("export", description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", required=True, type=local, metavar="DIR")
    parser.add_checkpoint()
    parser.add_argument(
        "--formats",
        default="stablehlo",
        metavar="NAME,...",
        help=f"some of {', '.join(FORMATS)}; default: stablehlo",
    )
    arguments = parser.parse_args(argv)
    formats = list(dict.fromkeys(filter(None, arguments.formats.split(","))))
    for name in formats:
        if name not in FORMATS:
            parser.error(f"--formats: {name!r}; available: {', '.join(FORMATS)}")
        if (extra := FORMATS[name]) and (message := extras.missing(extra)):
            parser.error(f"--formats={name} {message}")
    # Imported late, because JAX takes seconds: a usage error should not wait for it.
    from damff_jax import weights

    try:
        weights.check_exists(arguments.checkpoint)
    except ValueError as error:
        parser.error(printable(str(error)))
    from damff_jax.export import folder
    from damff_jax.prediction import trained

    try:
        loaded = trained.load(arguments.checkpoint)
        for name in formats:
            kind = importlib.import_module(f"damff_jax.export.{name}")
            path = Path(arguments.output_dir) / name
            os.makedirs(path, exist_ok=True)
            kind.write(path, loaded)
            folder.write(path, loaded, kind)
            print(f"wrote {path}: {kind.FILE}, {folder.EXAMPLE}, {folder.SETTINGS}, {folder.CARD}")
    except (ValueError, OSError) as error:
        print(f"{_PROGRAM}: error: {printable(str(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
