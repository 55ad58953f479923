"""Builds a data set: `python -m input_pipeline.prepare --dataset=NAME [--manual_dir=DIR] ...`.

Exit status: 0 built or already there, 1 the data set cannot be built, 2 usage, 143 after SIGTERM,
130 after SIGINT (Ctrl-C).
"""

# Spawned workers import this module again, so TensorFlow is imported inside `main` only.
import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

from damff_jax.audio import AudioError
from damff_jax.features import FeatureConfig
from damff_jax.system.preemption import Preempted, raised
from input_pipeline.annotations import LabelError
from input_pipeline.corpus import CorpusError, shorten


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "prepare",
        description="Computes a data set's log-Mel spectrograms and writes them as TFDS shards. "
        "Give --dataset and --help to see a data set's own options.",
        add_help=False,
    )
    parser.add_argument("--dataset", required=True, help="its name, or a file NAME.py")
    parser.add_argument("--manual_dir", help="where the files of the data set are")
    parser.add_argument("--data_dir", default="data", help="where shards go (default: data)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument(
        "--require_all", action="store_true", help="make a labelled song without audio an error"
    )
    parser.add_argument("--help", action="store_true", help="show this and exit")
    if argv is None:
        argv = sys.argv[1:]
    if not any(arg.startswith("--dataset") for arg in argv) and "--help" in argv:
        parser.print_help()
        return 0
    arguments, _ = parser.parse_known_args(argv)
    if arguments.workers < 1:
        parser.error("--workers must be positive")

    from absl import logging

    from input_pipeline import datasets
    from input_pipeline.base import hide_accelerators_from_tensorflow

    logging.set_verbosity(logging.ERROR)
    try:
        hide_accelerators_from_tensorflow()
        cls = datasets.builder_class(arguments.dataset)
        _add_fields(parser, cls.OPTIONS, f"options of {arguments.dataset}", prefix="")
        _add_fields(parser, cls.SPLIT, "how the songs are split, for the report", prefix="")
        _add_fields(parser, FeatureConfig, "features", prefix="features.")
        if arguments.help:
            parser.print_help()
            return 0
        values = vars(parser.parse_args(argv))
        features = FeatureConfig(**_given(values, FeatureConfig, "features."))
        options = cls.OPTIONS(**_given(values, cls.OPTIONS, ""))
        split = cls.SPLIT(**_given(values, cls.SPLIT, ""))
    except (CorpusError, ValueError) as error:
        parser.error(str(error))
    try:
        # Opened under the lock, so that what another process has built meanwhile is seen.
        with raised(), datasets.lock(arguments.data_dir):
            builder = datasets.open_builder(
                arguments.dataset, data_dir=arguments.data_dir, features=features, options=options
            )
            built = datasets.prepare(
                builder,
                manual_dir=arguments.manual_dir,
                split=split,
                workers=arguments.workers,
                require_all=arguments.require_all,
                progress=sys.stderr.isatty(),
            )
        dataset = datasets.Dataset.of(builder, split, arguments.manual_dir or "")
    except (AudioError, CorpusError, LabelError, OSError) as error:
        print(f"prepare: error: {error}", file=sys.stderr)
        return 1
    except Preempted as preempted:
        print(f"prepare: stopped by {preempted}; the next call goes on from here", file=sys.stderr)
        return preempted.exit_status
    print(f"{'built' if built else 'already built'}: {builder.data_dir}")
    print(describe(builder.info.metadata["report"], dataset.counts()))
    return 0


def describe(report: dict[str, Any], counts: dict[str, tuple[int, int]]) -> str:
    """The report of a build, and how many songs and segments each split has, as lines of text."""
    rate = report["n_songs"] / max(report["build_seconds"], 1e-3)
    first, end = report["seconds_of_songs"]
    before, past = report["n_cut_off"]["before"], report["n_cut_off"]["past"]
    lines = [
        f"  {'all':<10} {report['n_songs']:5d} songs  {report['n_segments']:7d} segments  "
        f"seconds {first:g} to {end:g} of the songs",
        f"  built in {report['build_seconds']:.1f} s, {rate:.1f} songs/s",
    ]
    if before or past:
        lines.append(f"  labelled segments cut off: {before} before the audio, {past} past its end")
    for split, (n_songs, n_segments) in counts.items():
        lines.append(f"  {split:<10} {n_songs:5d} songs  {n_segments:7d} segments")
    if outside := report["n_songs"] - sum(n_songs for n_songs, _ in counts.values()):
        lines.append(f"  in no split {outside:4d} songs")
    for kind, entries in (("left out", report["left_out"]), ("note", report["notes"])):
        for reason, names in entries.items():
            lines.append(f"  {kind}: {len(names)} × {reason}: {shorten(names)}")
    return "\n".join(lines)


def _add_fields(parser: argparse.ArgumentParser, cls: type, title: str, prefix: str) -> None:
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(cls):
        name, help_text = f"--{prefix}{field.name}", f"(default: {field.default})"
        group.add_argument(name, type=field.type, default=None, help=help_text)


def _given(values: dict[str, Any], cls: type, prefix: str) -> dict[str, Any]:
    named = {field.name: values[prefix + field.name] for field in dataclasses.fields(cls)}
    return {name: value for name, value in named.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
