"""Valence and arousal curves of songs, from audio files.

    python -m damff_jax.predict AUDIO_OR_FOLDER... [--checkpoint=WORKDIR] [--output_dir=DIR]

writes `<stem>.csv` per file with the header `time_s,valence,arousal` and a row every 0.5 s, where
the time is the start of the segment. The tree of a folder is mirrored below `--output_dir`. The
input `-` is a list of paths on standard input. In Python: `Predictor`.

Exit status: 0 all done, 1 some inputs failed or were left out (each named), 2 wrong usage, or
nothing to do, 143 after SIGTERM, 130 after SIGINT (Ctrl-C).
"""

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from damff_jax.system import extras
from damff_jax.system.command_line import Parser, printable, program, show_warnings
from damff_jax.system.places import PlaceError, check_exists, local
from damff_jax.system.progress import aside
from damff_jax.system.terminal import robust

if TYPE_CHECKING:
    from damff_jax.prediction.predictor import Predictor
    from damff_jax.report.folder import Folder
    from damff_jax.system.preemption import Preempted

__all__ = ["Predictor", "main"]

_PROGRAM = program("predict")


def __getattr__(name: str) -> Any:
    # Imported late, because JAX takes seconds: a usage error should not wait for it.
    if name == "Predictor":
        from damff_jax.prediction import predictor

        return predictor.Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@robust(_PROGRAM)
def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.batch_size < 1:
        parser.error("--batch_size must be positive")
    if arguments.embed_audio and not arguments.html:
        parser.error("--embed_audio needs --html, whose page holds the audio")
    if arguments.plot and (message := extras.missing("plot")):
        parser.error(f"--plot {message}")
    from damff_jax import weights

    try:
        weights.check_exists(arguments.checkpoint)
        job = _find_job(arguments)
    except (ValueError, OSError) as error:
        parser.error(printable(str(error)))
    for remark in job.left_out:
        print(f"{_PROGRAM}: left out: {printable(remark)}", file=sys.stderr)
    stopped, n_done, n_failed = _work(parser, arguments, job) if job.to_do else (None, 0, 0)
    summary = _summary(job, arguments.output_dir, n_done, n_failed)
    if stopped is not None:
        summary = f"stopped by {stopped}; {summary}"
    print(f"{_PROGRAM}: {summary}", file=sys.stderr)
    if stopped is not None:
        return stopped.exit_status
    return 1 if n_failed or job.left_out else 0


class _Job(NamedTuple):
    """What is to be done: paths with the names of their output files; and what is not, and why."""

    to_do: dict[str, str]
    skipped: dict[str, str]
    left_out: list[str]


def _find_job(arguments: argparse.Namespace) -> _Job:
    """What the command line names.

    Raises:
      PlaceError: nothing of it exists, or there is no audio in it.
    """
    from damff_jax.prediction import output
    from damff_jax.prediction.inputs import find_inputs
    from damff_jax.prediction.names import output_names

    found = find_inputs(arguments.inputs)
    if not found.files:
        more = f"; and {len(found.left_out) - 3} more" if len(found.left_out) > 3 else ""
        raise PlaceError("; ".join(found.left_out[:3]) + more or "the list names no files")
    if not any(map(os.path.lexists, found.paths)):
        # A missing file among others is a failure of its own.
        check_exists(found.paths[0])
    to_do = dict(zip(found.paths, output_names(found.files), strict=True))
    skipped = {}
    if arguments.skip_existing:
        kinds, plot_format = _kinds(arguments), arguments.plot_format
        skipped = {
            path: name for path, name in to_do.items()
            if output.exists(Path(arguments.output_dir, name), kinds, plot_format=plot_format)
        }  # fmt: skip
    to_do = {path: name for path, name in to_do.items() if path not in skipped}
    return _Job(to_do, skipped, found.left_out)


def _work(
    parser: Parser, arguments: argparse.Namespace, job: _Job
) -> tuple["Preempted | None", int, int]:
    """Predicts and writes; returns what stopped it, and how many were done and failed."""
    from damff_jax import audio
    from damff_jax.prediction.file_progress import FileProgress
    from damff_jax.prediction.predictor import Predictor
    from damff_jax.report.folder import Folder
    from damff_jax.run.checkpoint_errors import CheckpointWarning
    from damff_jax.system import preemption
    from damff_jax.training import compilation

    compilation.use_cache()
    show_warnings(_PROGRAM, audio.AudioWarning, CheckpointWarning)
    warnings.simplefilter("always", audio.AudioWarning)
    n_done = n_failed = 0
    folder = Folder(arguments.output_dir)
    stopped: Preempted | None = None
    try:
        with preemption.raised():
            try:
                predictor = Predictor(arguments.checkpoint, batch_size=arguments.batch_size)
                if arguments.band and not predictor.has_band:
                    raise ValueError(f"--band: {arguments.checkpoint} has no band")
                _make_folder(arguments.output_dir)
            except (ValueError, OSError) as error:
                parser.error(printable(str(error)))
            name = printable(predictor.name)
            print(f"{_PROGRAM}: {name}: {predictor.origin}", file=sys.stderr)
            try:
                with FileProgress(job.to_do) as progress:
                    for is_done in _predict_and_write(
                        predictor, job.to_do, arguments, folder, progress.hear
                    ):
                        n_done, n_failed = n_done + is_done, n_failed + (not is_done)
            except preemption.Preempted as preempted:
                stopped = preempted
            # A run that was stopped before its first song leaves an earlier index as it is.
            if arguments.html and (folder.entries or stopped is None):
                with preemption.held_back():
                    n_failed += not _write_index(folder, job, predictor.origin, stopped)
    except preemption.Preempted as preempted:
        stopped = stopped or preempted
    return stopped, n_done, n_failed


def _summary(job: _Job, output_dir: str, n_done: int, n_failed: int) -> str:
    """How many files were done and how many were not, and where the curves are."""
    n_not_reached = len(job.to_do) - n_done - n_failed
    counts = [f"{n_done} of {len(job.to_do) + len(job.skipped)} files done"]
    for n, what in (
        (len(job.skipped), "skipped, because their curves exist"),
        (n_failed, "failed"),
        (n_not_reached, "not reached"),
        (len(job.left_out), "left out"),
    ):
        counts += [f"{n} {what}"] * (n > 0)
    return f"{', '.join(counts)}; curves are in {printable(output_dir)}"


def _predict_and_write(
    predictor: "Predictor",
    to_do: Mapping[str, str],
    arguments: argparse.Namespace,
    folder: "Folder",
    listen: Callable[[str, float], None],
) -> Iterator[bool]:
    """Yields for each file whether its curve was written, and adds it to the folder."""
    from damff_jax.audio import AudioError
    from damff_jax.prediction import output

    results = predictor.curves(to_do, strict=arguments.strict, listen=listen)
    for (path, name), result in zip(to_do.items(), results, strict=True):
        try:
            if not result.ok:
                raise result.error
            output.write(
                Path(arguments.output_dir, name),
                result,
                kinds=_kinds(arguments),
                band=arguments.band,
                embed_audio=arguments.embed_audio,
                plot_format=arguments.plot_format,
                plot_plane=arguments.plot_plane,
            )
        except (AudioError, OSError) as error:
            with aside():
                print(f"{_PROGRAM}: error: {printable(str(error))}", file=sys.stderr)
            folder.fail(path, str(error))
            yield False
        else:
            folder.add(result, name)
            n_rows = len(result)
            with aside():
                print(f"{printable(path)} -> {printable(name)}.csv: {n_rows} rows", flush=True)
            yield True


def _write_index(folder: "Folder", job: _Job, model: str, stopped: "Preempted | None") -> bool:
    """Writes the index of several files; returns whether it could be written."""
    if len(job.to_do) + len(job.skipped) + len(job.left_out) < 2:
        return True
    reached = {*folder.failures, *(entry.source for entry in folder.entries)}
    for path in job.to_do:
        if path not in reached:
            folder.fail(path, f"{path}: not reached, because {stopped} ended the run")
    for path, name in job.skipped.items():
        folder.keep(path, name)
    for remark in job.left_out:
        folder.fail(remark.partition(": ")[0], remark)
    try:
        folder.write(model)
    except OSError as error:
        print(f"{_PROGRAM}: error: {printable(str(error))}", file=sys.stderr)
        return False
    return True


def _kinds(arguments: argparse.Namespace) -> list[str]:
    """The kinds of files that are requested besides CSV."""
    from damff_jax.prediction import output

    return [kind for kind in output.KINDS if vars(arguments)[kind]]


def _parser() -> Parser:
    parser = Parser("predict", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "inputs",
        nargs="+",
        type=local,
        metavar="AUDIO_OR_FOLDER",
        help="or -, for a list of paths on standard input, in lines or separated by NUL",
    )
    parser.add_checkpoint()
    parser.add_argument(
        "--output_dir", type=local, default=".", metavar="DIR", help="default: current folder"
    )
    parser.add_argument("--plot", action="store_true", help="also write <stem>.png")
    parser.add_argument(
        "--plot_format",
        default="png",
        choices=("png", "svg", "pdf"),
        help="with --plot: write <stem>.svg or <stem>.pdf instead",
    )
    parser.add_argument(
        "--plot_plane",
        action="store_true",
        help="with --plot: also draw the path on the plane of valence and arousal",
    )
    parser.add_argument(
        "--html",
        action="store_true",
        help="also write <stem>.html and, of several files, index.html and summary.csv",
    )
    parser.add_argument("--embed_audio", action="store_true", help="the pages hold the audio")
    parser.add_argument("--json", action="store_true", help="also write <stem>.json")
    parser.add_argument(
        "--band", action="store_true", help="add columns: where 80 %% of ratings are expected"
    )
    parser.add_argument("--jams", action="store_true", help="also write <stem>.jams")
    parser.add_argument(
        "--audacity", action="store_true", help="also write <stem>.labels.txt, a label track"
    )
    parser.add_argument(
        "--sv", action="store_true", help="also write <stem>.svl, layers for Sonic Visualiser"
    )
    parser.add_argument("--strict", action="store_true", help="reject truncated files")
    parser.add_argument(
        "--skip_existing", action="store_true", help="leave out files whose curves exist already"
    )
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
