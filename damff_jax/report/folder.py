"""A folder of curves: its songs in a few numbers each, its failures, and their `summary.csv`."""

import csv
import dataclasses
import os
from pathlib import Path

import numpy as np

from damff_jax.audio import tags
from damff_jax.report.curve import Curve
from damff_jax.report.pages import folder_page
from damff_jax.report.quadrants import QUADRANTS
from damff_jax.report.summary import Summary
from damff_jax.system.command_line import printable
from damff_jax.system.files import atomic_write

_INDEX, _SUMMARY = "index", "summary"
_SPARK_POINTS = 80
HEADER = (
    *("file", "status", "name", "artist", "page", "seconds"),
    *(f"{name}_{what}" for name in ("valence", "arousal") for what in ("mean", "low", "high")),
    *QUADRANTS,
    *("unlikeness", "remarks"),
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A song of the folder, in a few numbers.

    Attributes:
      source: the path of the audio file.
      name, artist: as on the song's page.
      page: the name of the song's page.
      seconds: its length.
      summary: of its curve.
      spark_PxV: its curve with at most 80 points.
      unlikeness, remarks: as of the song's curve.
    """

    source: str
    name: str
    artist: str
    page: str
    seconds: float
    summary: Summary
    spark_PxV: np.ndarray
    unlikeness: float | None
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, curve: Curve, page: str) -> "Entry":
        """The entry of a song with a page."""
        parts = np.array_split(curve.values, min(_SPARK_POINTS, len(curve)))
        return cls(
            source=curve.source,
            name=printable(curve.name) or curve.title,
            artist=printable(curve.artist),
            page=page,
            seconds=curve.duration,
            summary=Summary.of(curve.times, curve.values),
            spark_PxV=np.array([part.mean(axis=0) for part in parts]),
            unlikeness=curve.unlikeness,
            remarks=curve.remarks,
        )

    @property
    def is_unlike(self) -> bool:
        """Whether the song is unlike those that the model was trained on."""
        return self.unlikeness is not None and self.unlikeness > 1

    @property
    def mostly(self) -> tuple[str, float]:
        """The quadrant in which the song spends most of its time, and its share."""
        return max(self.summary.shares.items(), key=lambda item: item[1])


class Folder:
    """Collects what is known about the songs of a folder, for its `index.html` and `summary.csv`.

    Attributes:
      entries: the songs that have a page, in their order.
      failures: why there is none, by the path of the audio file.

    Args:
      path: where the songs' files are written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = Path(path)
        self.entries: list[Entry] = []
        self.failures: dict[str, str] = {}

    def add(self, curve: Curve, name: str) -> None:
        """Adds a song; `name` is that of its files in the folder, without their extensions."""
        self.entries.append(Entry.of(curve, f"{name}.html"))

    def keep(self, source: str, name: str) -> None:
        """Adds a song whose files were written earlier; what they do not say is left open."""
        try:
            table_Tx3 = np.loadtxt(
                self._path / f"{name}.csv", delimiter=",", skiprows=1, usecols=(0, 1, 2), ndmin=2
            )
        except (OSError, ValueError) as error:
            self.fail(source, f"{name}.csv: not the curve of a song ({error})")
            return
        found = tags.read(source)
        times_T, valence_T, arousal_T = table_Tx3.T
        curve = Curve(
            source, "", times_T, valence_T, arousal_T, name=found.title, artist=found.artist
        )
        self.add(curve, name)

    def fail(self, source: str, why: str) -> None:
        """Adds an audio file without a curve."""
        self.failures[source] = why

    def write(self, model: str) -> None:
        """Writes `index.html` and `summary.csv`.

        Args:
          model: one line about how the model was trained.

        Raises:
          OSError: a file cannot be written.
        """
        name = printable(os.path.basename(os.path.abspath(self._path)))
        page = folder_page.text(name, self.entries, self.failures, model=model)
        with atomic_write(self._path / f"{_INDEX}.html") as file:
            file.write(page)
        with atomic_write(self._path / f"{_SUMMARY}.csv", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows(map(_row, self.entries))
            blank = [""] * (len(HEADER) - 3)
            for source, why in self.failures.items():
                writer.writerow([printable(source), "failed", *blank, printable(why)])


def _row(entry: Entry) -> list[str]:
    ranges = entry.summary.ranges.values()
    return [
        printable(entry.source),
        "done",
        entry.name,
        entry.artist,
        printable(entry.page),
        f"{entry.seconds:.1f}",
        *(f"{x:.4f}" for r in ranges for x in (r.mean, r.low, r.high)),
        *(f"{share:.4f}" for share in entry.summary.shares.values()),
        "" if entry.unlikeness is None else f"{entry.unlikeness:.3f}",
        "; ".join(map(printable, entry.remarks)),
    ]
