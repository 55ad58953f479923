"""Valence and arousal curves of songs, from audio files.

    python -m damff_jax.predict AUDIO_OR_FOLDER... [--checkpoint=WORKDIR]

writes `<stem>.csv` per file with the header `time_s,valence,arousal` and a row every 0.5 s, where
the time is the start of the segment. In Python: `Predictor`.

Exit status: 0 all done, 1 some inputs failed (each named), 2 wrong usage, 143 after SIGTERM, 130
after SIGINT (Ctrl-C).
"""

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from damff_jax import pretrained
from damff_jax.system import extras
from damff_jax.system.command_line import Parser, printable, program, show_warnings

if TYPE_CHECKING:
    from damff_jax.prediction.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor", "main"]

_PROGRAM = program("predict")


def __getattr__(name: str) -> Any:
    # Imported late, because JAX takes seconds: a usage error should not wait for it.
    if name in ("Prediction", "Predictor"):
        from damff_jax.prediction import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.batch_size < 1:
        parser.error("--batch_size must be positive")
    if arguments.plot and (message := extras.missing("plot")):
        parser.error(f"--plot {message}")
    from damff_jax import audio
    from damff_jax.prediction.inputs import find_inputs

    paths = find_inputs(arguments.inputs)
    if not paths:
        parser.error(f"no audio files ({', '.join(audio.EXTENSIONS)}) in {arguments.inputs}")

    from damff_jax.prediction.predictor import Predictor
    from damff_jax.run.checkpoint_errors import CheckpointWarning
    from damff_jax.system import preemption
    from damff_jax.training import compilation

    compilation.use_cache()
    show_warnings(_PROGRAM, audio.AudioWarning, CheckpointWarning)
    warnings.simplefilter("always", audio.AudioWarning)
    n_done = n_failed = 0
    try:
        with preemption.raised():
            try:
                predictor = Predictor(arguments.checkpoint, batch_size=arguments.batch_size)
                _make_folder(arguments.output_dir)
            except (ValueError, OSError) as error:
                parser.exit(2, f"{_PROGRAM}: error: {error}\n")
            name = Path(os.path.normpath(arguments.checkpoint)).stem
            print(f"{_PROGRAM}: {name}: {predictor.origin}", file=sys.stderr)
            for is_done in _predict_and_write(predictor, paths, arguments):
                n_done, n_failed = n_done + is_done, n_failed + (not is_done)
    except preemption.Preempted as preempted:
        done = f"{n_done} of {len(paths)} files done"
        print(f"{_PROGRAM}: stopped by {preempted}; {done}", file=sys.stderr)
        return preempted.exit_status
    if n_failed:
        print(f"{_PROGRAM}: {n_failed} of {len(paths)} files failed", file=sys.stderr)
    return 1 if n_failed else 0


def _predict_and_write(
    predictor: "Predictor", paths: Sequence[str], arguments: argparse.Namespace
) -> Iterator[bool]:
    """Yields for each file whether its curve was written."""
    from damff_jax.audio import AudioError
    from damff_jax.prediction import output
    from damff_jax.prediction.inputs import output_names

    kinds = [kind for kind in output.KINDS if vars(arguments)[kind]]
    predictions = predictor.predictions(paths, strict=arguments.strict)
    for path, name, prediction in zip(paths, output_names(paths), predictions, strict=True):
        try:
            if isinstance(prediction, Exception):
                raise prediction
            stem = Path(arguments.output_dir) / name
            output.write(stem, path, prediction, predictor, kinds=kinds)
        except (AudioError, OSError) as error:
            print(f"{_PROGRAM}: error: {printable(str(error))}", file=sys.stderr)
            yield False
        else:
            n_rows = len(prediction.curve_TxV)
            print(f"{printable(path)} -> {printable(name)}.csv: {n_rows} rows", flush=True)
            yield True


def _parser() -> Parser:
    parser = Parser("predict", description=__doc__.split("\n\n")[0])
    parser.add_argument("inputs", nargs="+", metavar="AUDIO_OR_FOLDER")
    parser.add_argument(
        "--checkpoint",
        default=pretrained.DEFAULT,
        metavar="WORKDIR|FILE|NAME",
        help="a training run's workdir, a .safetensors file, or weights shipped with the package: "
        f"{', '.join(pretrained.shipped())}; default: {pretrained.DEFAULT.stem}",
    )
    parser.add_argument("--output_dir", default=".", metavar="DIR", help="default: current folder")
    parser.add_argument("--plot", action="store_true", help="also write <stem>.png")
    parser.add_argument("--html", action="store_true", help="also write <stem>.html")
    parser.add_argument("--json", action="store_true", help="also write <stem>.json")
    parser.add_argument("--strict", action="store_true", help="reject truncated files")
    parser.add_argument("--batch_size", type=int, default=4, help="windows per model call")
    return parser


def _make_folder(path: str) -> None:
    """Makes a folder, and checks before the work starts that it is writable.

    Raises:
      OSError: the folder cannot be written to.
    """
    os.makedirs(path, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


if __name__ == "__main__":
    sys.exit(main())
