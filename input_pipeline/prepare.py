"""Builds a data set: `python -m input_pipeline.prepare --dataset=NAME [--manual_dir=DIR] ...`.

Next to the shards, report.html shows the songs, their labels, and what was left out and why.

Exit status: 0 built or already built, 1 the data set cannot be built, 2 wrong usage, 143 after
SIGTERM, 130 after SIGINT (Ctrl-C).
"""

# TensorFlow is imported only inside `main`, because spawned workers import this module too, and
# usage errors should be reported immediately.
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from damff_jax.audio import AudioError
from damff_jax.system import extras
from damff_jax.system.command_line import program
from damff_jax.system.preemption import Preempted, raised
from damff_jax.system.terminal import is_interactive, robust
from input_pipeline import prepare_flags
from input_pipeline.annotations import LabelError
from input_pipeline.corpus import CorpusError, shorten
from input_pipeline.splits import summary

_PROGRAM = program("prepare")


@robust(_PROGRAM)
def main(argv: Sequence[str] | None = None) -> int:
    arguments = prepare_flags.parse(sys.argv[1:] if argv is None else argv)
    extras.require(_PROGRAM, "train")
    from absl import logging

    from input_pipeline import datasets
    from input_pipeline.base import hide_accelerators_from_tensorflow

    logging.set_verbosity(logging.ERROR)
    hide_accelerators_from_tensorflow()
    try:
        # Opened under the lock, so that what another process has just built is seen.
        with raised(), datasets.lock(arguments.data_dir):
            builder = datasets.open_builder(
                arguments.dataset,
                data_dir=arguments.data_dir,
                features=arguments.features,
                options=arguments.options,
            )
            built = datasets.prepare(
                builder,
                manual_dir=arguments.manual_dir,
                split=arguments.split,
                workers=arguments.workers,
                require_all=arguments.require_all,
                progress=is_interactive(),
            )
        dataset = datasets.Dataset.of(builder, arguments.split, arguments.manual_dir or "")
    except (AudioError, CorpusError, LabelError, OSError) as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    except Preempted as preempted:
        print(
            f"{_PROGRAM}: stopped by {preempted}; the next call resumes from here", file=sys.stderr
        )
        return preempted.exit_status
    print(f"{'built' if built else 'already built'}: {builder.data_dir}")
    for folder in datasets.earlier_versions(builder):
        print(f"  of an earlier version, not read any more: {folder}")
    print(describe(builder.info.metadata["report"], dataset.counts()))
    write_report(Path(builder.data_dir) / "report.html", dataset.facts())
    return 0


def write_report(path: Path, facts: dict[str, Any]) -> None:
    """Writes the data report; an error is printed, because the data set is complete without it."""
    from damff_jax.report import data_page

    try:
        data_page.write(path, facts)
    except Exception as error:
        print(f"{_PROGRAM}: warning: {path} was not written: {error}", file=sys.stderr)
    else:
        print(f"report: {path}")


def describe(report: dict[str, Any], counts: dict[str, tuple[int, int]]) -> str:
    """The report of a build, and the numbers of songs and segments per split, as text."""
    rate = report["n_songs"] / max(report["build_seconds"], 1e-3)
    first, end = report["seconds_of_songs"]
    before, past = report["n_cut_off"]["before"], report["n_cut_off"]["past"]
    lines = [
        f"  {'all':<10} {report['n_songs']:5d} songs  {report['n_segments']:7d} segments  "
        f"seconds {first:g} to {end:g} of the songs",
        f"  built in {report['build_seconds']:.1f} s, {rate:.1f} songs/s",
    ]
    if before or past:
        lines.append(
            f"  labelled segments cut off: {before} before the audio, {past} after its end"
        )
    lines.append(summary(counts))
    if outside := report["n_songs"] - sum(n_songs for n_songs, _ in counts.values()):
        lines.append(f"  in no split {outside:4d} songs")
    for kind, entries in (("left out", report["left_out"]), ("note", report["notes"])):
        for reason, names in entries.items():
            lines.append(f"  {kind}: {len(names)} × {reason}: {shorten(names)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
