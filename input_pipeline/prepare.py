"""Builds a data set: `python -m input_pipeline.prepare --dataset=NAME [--manual_dir=DIR] ...`.

Next to the shards, report.html shows the songs, their labels, and what was left out and why. The
last line says how many songs are done, and which failed or were left out.

Exit status: 0 built or already built, with all songs; 1 songs failed or were left out (each named),
or the data set cannot be built; 2 wrong usage; 143 after SIGTERM, 130 after SIGINT (Ctrl-C).
"""

# TensorFlow is imported only inside `main`, because spawned workers import this module too, and
# usage errors should be reported immediately.
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from damff_jax.audio import AudioError
from damff_jax.system import extras
from damff_jax.system.command_line import printable, program
from damff_jax.system.preemption import Preempted, raised
from damff_jax.system.terminal import is_interactive, robust
from input_pipeline import parts, prepare_flags, report
from input_pipeline.corpus import CorpusError
from input_pipeline.csv_files import LabelError
from input_pipeline.parts import Part
from input_pipeline.prepare_flags import Arguments

if TYPE_CHECKING:
    from input_pipeline.base import Prefill, SongBuilder

_PROGRAM = program("prepare")


@robust(_PROGRAM)
def main(argv: Sequence[str] | None = None) -> int:
    arguments = prepare_flags.parse(sys.argv[1:] if argv is None else argv)
    extras.require(_PROGRAM, "train")
    if arguments.runner:
        extras.require(_PROGRAM, "beam")
    from absl import logging

    from input_pipeline.base import hide_accelerators_from_tensorflow

    logging.set_verbosity(logging.ERROR)
    hide_accelerators_from_tensorflow()
    try:
        with raised():
            if arguments.part is not None:
                return _extract(arguments, arguments.part)
            return _plan(arguments) if arguments.dry_run else _prepare(arguments)
    except (AudioError, CorpusError, LabelError, OSError) as error:
        print(f"{_PROGRAM}: error: {printable(str(error))}", file=sys.stderr)
        return 1
    except Preempted as preempted:
        print(
            f"{_PROGRAM}: stopped by {preempted}; the next call resumes from here", file=sys.stderr
        )
        return preempted.exit_status


def _prepare(arguments: Arguments) -> int:
    """Builds the data set unless it is built, and prints its report."""
    from input_pipeline import datasets

    prefill = _prefill(arguments)
    # Opened under the lock, so that what another process has just built is seen.
    with datasets.lock(arguments.data_dir):
        builder = _open(arguments)
        built = datasets.prepare(
            builder,
            manual_dir=arguments.manual_dir,
            split=arguments.split,
            workers=arguments.workers,
            require_all=arguments.require_all,
            needed_splits=arguments.needed_splits,
            progress=is_interactive(),
            prefill=prefill,
        )
    dataset = datasets.Dataset.of(builder, arguments.split, arguments.manual_dir or "")
    manifest = builder.info.metadata["report"]
    print(f"{'built' if built else 'already built'}: {builder.data_dir}")
    for folder in datasets.earlier_versions(builder):
        print(f"  of an earlier version, not read any more: {folder}")
    print(report.describe(manifest, dataset.counts()))
    write_report(Path(builder.data_dir) / "report.html", dataset.facts())
    print(report.outcome(manifest, "songs done", f"{builder.data_dir}/metadata.json"))
    return 0 if report.is_complete(manifest) else 1


def write_report(path: Path, facts: dict[str, Any]) -> None:
    """Writes the data report; an error is printed, because the data set is complete without it."""
    from damff_jax.report.pages import data_page

    try:
        data_page.write(path, facts)
    except Exception as error:
        print(f"{_PROGRAM}: warning: {path} was not written: {error}", file=sys.stderr)
    else:
        print(f"report: {path}")


def _prefill(arguments: Arguments) -> "Prefill | None":
    """The Beam job that was asked for; exits with status 2 if its options are wrong."""
    if arguments.runner is None:
        return None
    from input_pipeline.beam_job import BeamError, BeamJob

    try:
        return BeamJob.of(arguments.runner, arguments.beam_options, arguments.workers)
    except BeamError as error:
        print(f"{_PROGRAM}: error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)


def _extract(arguments: Arguments, part: Part) -> int:
    """Computes the features of a part of the songs, for a build that comes later."""
    from input_pipeline import datasets

    builder = _open(arguments)
    folder = datasets.folder_of(builder, arguments.manual_dir)
    if datasets.is_built(builder) and not (folder and datasets.is_outdated(builder, folder)):
        print(f"already built: {builder.data_dir}")
        return 0
    builder.split, builder.require_all = arguments.split, arguments.require_all
    builder.needed_splits = arguments.needed_splits
    n_songs, failed = parts.extract_part(
        builder, part, folder, workers=arguments.workers, progress=is_interactive()
    )
    print(f"features: {builder.cache.folder}; without --shard, the same command builds from them")
    for song_id, reason in failed.items():
        print(f"  failed: {printable(song_id)}: {printable(reason)}")
    outcome = {"n_songs": n_songs, "failed": failed, "left_out": {}}
    print(report.outcome(outcome, f"songs of part {part} done", "the lines above"))
    return 1 if failed else 0


def _plan(arguments: Arguments) -> int:
    """Prints what would be built, and writes nothing."""
    from input_pipeline import datasets

    builder = _open(arguments)
    folder = datasets.folder_of(builder, arguments.manual_dir)
    if folder is None:
        print(f"{builder.name} makes its songs by itself; would build: {builder.data_dir}")
        return 0
    builder.split, builder.require_all = arguments.split, arguments.require_all
    builder.needed_splits = arguments.needed_splits
    corpus, song_ids = builder.planned(folder)
    is_fresh = datasets.is_built(builder) and not datasets.is_outdated(builder, folder)
    plan = report.plan_report(corpus)
    print(f"{'already built' if is_fresh else 'would build'}: {builder.data_dir}")
    print(report.describe_plan(corpus, song_ids))
    print(report.outcome(plan, "songs to build", "the lines above"))
    return 0 if report.is_complete(plan) else 1


def _open(arguments: Arguments) -> "SongBuilder":
    from input_pipeline import datasets

    return datasets.open_builder(
        arguments.dataset,
        data_dir=arguments.data_dir,
        features=arguments.features,
        options=arguments.options,
    )


if __name__ == "__main__":
    sys.exit(main())
