"""The command line of `prepare`, checked before TensorFlow is imported."""

import argparse
import dataclasses
import inspect
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from damff_jax.features import FeatureConfig
from damff_jax.songs import SPLITS
from damff_jax.system.command_line import Parser
from damff_jax.system.completion import suggest
from damff_jax.system.places import check_exists, check_unicode, local
from input_pipeline import settings
from input_pipeline.corpus import CorpusError, Options
from input_pipeline.parts import Part
from input_pipeline.splits import Split

# Of Apache Beam; others would be untested names.
RUNNERS = ("DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner", "PortableRunner")


class Arguments(NamedTuple):
    """A parsed command line."""

    dataset: str
    manual_dir: str | None
    data_dir: str
    workers: int
    require_all: bool
    needed_splits: tuple[str, ...]
    dry_run: bool
    part: Part | None
    runner: str | None
    beam_options: tuple[str, ...]
    features: FeatureConfig
    options: Options
    split: Split


def parse(argv: Sequence[str]) -> Arguments:
    """Reads a command line; an error prints one line, and ends the program with status 2."""
    parser = _parser()
    if {"--help", "-h"} & set(argv) and not any(arg.startswith("--dataset") for arg in argv):
        parser.print_help()
        parser.exit()
    # The data set determines the other options.
    known, _ = parser.parse_known_args(argv)
    try:
        options, split = settings.classes(known.dataset)
        _add_fields(parser, options, f"options of {known.dataset}")
        _add_fields(parser, split, "how the songs are split, for the report")
        _add_fields(parser, FeatureConfig, "features", prefix="features.")
        parser.epilog = None
        if known.help:
            parser.print_help()
            parser.exit()
        values = vars(parser.parse_args(argv))
        check_unicode(data_dir=values["data_dir"])
        if values["manual_dir"] is not None:
            check_exists(values["manual_dir"], folder=True)
        if values["workers"] < 1:
            raise ValueError("--workers must be positive")
        _check_together(values)
        return Arguments(
            **{name: values[name] for name in Arguments._fields if name in values},
            features=FeatureConfig(**_given(values, FeatureConfig, "features.")),
            options=options(**_given(values, options)),
            split=split(**_given(values, split)),
        )
    except (CorpusError, ValueError) as error:
        parser.error(str(error))


def _parser() -> Parser:
    listed = "\n".join(f"  {name:<10} {text}" for name, text in settings.listed().items())
    parser = Parser(
        "prepare",
        description="Computes a data set's log-Mel spectrograms and writes them as TFDS shards.",
        epilog=f"data sets; --dataset=NAME --help shows the options of one:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add = parser.add_argument
    dataset = add(
        "--dataset",
        required=True,
        metavar="NAME",
        help="one of those below, one of a plug-in, or a file NAME.py",
    )
    suggest(dataset, settings.listed())
    add("--manual_dir", type=local, metavar="DIR", help="folder with the files of the data set")
    add(
        "--data_dir",
        type=local,
        default="data",
        metavar="DIR",
        help="folder for the shards (default: data)",
    )
    cores = os.cpu_count() or 1
    add("--workers", type=int, default=cores, metavar="N", help="processes (default: one per core)")
    add(
        "--require_all",
        action="store_true",
        help="treat a labelled song without audio, or one that cannot be read, as an error",
    )
    add(
        "--needed_splits",
        type=_names,
        default=(),
        metavar="A,B",
        help="build nothing unless one of these splits has songs",
    )
    add("--dry_run", action="store_true", help="say what would be built; write nothing")
    _add_machines(parser)
    add("-h", "--help", action="store_true", help="show this help and exit")
    return parser


def _add_machines(parser: Parser) -> None:
    group = parser.add_argument_group("several machines, with a file system that all of them see")
    group.add_argument(
        "--shard",
        dest="part",
        type=_part,
        metavar="I/N",
        help="only compute the features of part I of N of the songs, I from 0; the command without "
        "this builds the data set from all parts",
    )
    group.add_argument(
        "--runner",
        choices=RUNNERS,
        metavar="NAME",
        help=f"compute features by Apache Beam: {', '.join(RUNNERS)}; needs the extra [beam]",
    )
    group.add_argument(
        "--beam_options",
        type=_words,
        default=(),
        metavar="TEXT",
        help="options of Beam and the runner, as in --beam_options='--project=P --region=R'",
    )


def _check_together(values: dict[str, Any]) -> None:
    given = [name for name in ("part", "runner", "dry_run") if values[name]]
    if len(given) > 1:
        first, second = ("--shard" if name == "part" else f"--{name}" for name in given[:2])
        raise ValueError(f"{first} and {second} exclude each other")
    if values["beam_options"] and not values["runner"]:
        raise ValueError("--beam_options needs --runner")


def _part(text: str) -> Part:
    try:
        return Part.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _names(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    if unknown := set(names) - set(SPLITS):
        raise argparse.ArgumentTypeError(f"{min(unknown)!r} is not one of {', '.join(SPLITS)}")
    return names


def _add_fields(parser: Parser, cls: type, title: str, prefix: str = "") -> None:
    group = parser.add_argument_group(title)
    described, types = _described(cls), settings.types_of(cls)
    for field in dataclasses.fields(cls):
        choices = field.metadata.get("choices")
        group.add_argument(
            f"--{prefix}{field.name}",
            type=types[field.name],
            metavar="|".join(choices) if choices else types[field.name].__name__.upper(),
            help=f"{described.get(field.name, '')} (default: {field.default!r})".strip(),
        )


def _described(cls: type) -> dict[str, str]:
    """Descriptions of arguments, by name, from the docstrings of a class and its bases."""
    described: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = (inspect.cleandoc(base.__doc__ or "") + "\n\n").partition("\nArgs:\n")[2]
        for entry in re.split(r"\n(?=  \S)", text.partition("\n\n")[0]):
            names, _, what = entry.partition(":")
            # Backquotes are only for readers of the code; % is special to argparse.
            what = " ".join(what.split()).replace("`", "").replace("%", "%%")
            described |= {name.strip(): what.rstrip(".") for name in names.split(",")}
    return described


def _given(values: dict[str, Any], cls: type, prefix: str = "") -> dict[str, Any]:
    named = {field.name: values[prefix + field.name] for field in dataclasses.fields(cls)}
    return {name: value for name, value in named.items() if value is not None}
