"""The report of a build as text: what was built, what failed, and what was left out."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from damff_jax.system.command_line import printable
from input_pipeline.corpus import Corpus, shorten
from input_pipeline.splits import summary

# Of one kind, in the last line; the manifest names all.
_MOST_NAMES = 100


def describe(report: Mapping[str, Any], counts: Mapping[str, tuple[int, int]]) -> str:
    """A report, and the numbers of songs and segments per split, as lines of text."""
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
    return "\n".join(lines + _irregularities(report))


def describe_plan(corpus: Corpus, song_ids: Mapping[str, Sequence[str]]) -> str:
    """What would be built of a corpus, by split, as lines of text."""
    n_segments = {song.song_id: len(song.labels) for song in corpus.songs}
    counts = {
        split: (len(ids), sum(n_segments[song_id] for song_id in ids))
        for split, ids in song_ids.items()
    }
    n = sum(n_segments.values())
    lines = [
        f"  {'all':<10} {len(n_segments):5d} songs  {n:7d} segments with labels",
        summary(counts),
    ]
    for song in corpus.songs:
        lines.append(f"  {printable(song.song_id)}: {printable(song.source.path)}")
    return "\n".join(lines + _irregularities(plan_report(corpus), most=None))


def plan_report(corpus: Corpus) -> dict[str, Any]:
    """The part of a report that is known before a build; songs whose files are missing fail."""
    failed = {song_id: failure.reason for song_id, failure in corpus.failed.items()}
    for song in corpus.songs:
        if not os.access(song.source.path, os.R_OK):
            failed[song.song_id] = f"{song.source.path}: cannot be read"
    return {
        "n_songs": len(corpus.songs) - sum(song.song_id in failed for song in corpus.songs),
        "failed": failed,
        "left_out": corpus.left_out,
        "notes": corpus.notes,
    }


def outcome(report: Mapping[str, Any], done: str, manifest: str) -> str:
    """One line: how many songs are done, and which failed or were left out.

    Args:
      done: the word for songs that are done.
      manifest: the file that names all songs, if there are too many for a line.
    """
    # A song can be left out for two reasons: its curves differ, so that its audio has no labels.
    left_out = list(dict.fromkeys(itertools.chain(*report["left_out"].values())))
    parts = [f"{report['n_songs']} {done}"]
    for what, names in (("failed", list(report["failed"])), ("left out", left_out)):
        shown = f" ({shorten(_printable(names), _MOST_NAMES)})" if names else ""
        where = f", see {manifest}" if len(names) > _MOST_NAMES else ""
        parts.append(f"{len(names)} {what}{shown}{where}")
    return ", ".join(parts)


def is_complete(report: Mapping[str, Any]) -> bool:
    """Whether no song failed or was left out."""
    return not report["failed"] and not any(report["left_out"].values())


def _irregularities(report: Mapping[str, Any], *, most: int | None = 10) -> list[str]:
    lines = [
        f"  failed: {printable(song_id)}: {printable(reason)}"
        for song_id, reason in report["failed"].items()
    ]
    for kind, key in (("left out", "left_out"), ("note", "notes")):
        for reason, names in report[key].items():
            shown = shorten(_printable(names), most or len(names))
            lines.append(f"  {kind}: {len(names)} × {reason}: {shown}")
    return lines


def _printable(names: Iterable[str]) -> list[str]:
    return [printable(name) for name in names]
