"""The result for a song: its curve, what is known about it, and the ways to keep it.

Letters: T segments of 0.5 s, V = 2 (valence, arousal).
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from damff_jax.audio import AudioError
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.report import formats
from damff_jax.system.command_line import printable
from damff_jax.system.files import atomic_write

if TYPE_CHECKING:
    import pandas

# Written to a path, or returned as text if there is none.
Path = str | os.PathLike[str] | None


class Band(NamedTuple):
    """Where the ratings are expected.

    Attributes:
      level: the share of ratings that it is meant to hold, such as 0.8.
      low_TxV, high_TxV: its limits, in [-1, 1].
    """

    level: float
    low_TxV: np.ndarray
    high_TxV: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Curve:
    """The valence and arousal of a song over time.

    Attributes:
      source: the path of the file, as given.
      model: one line about how the model was trained.
      times: starts of the segments in s, (T,): 0, 0.5, …
      valence, arousal: in [-1, 1], (T,), float32.
      band: where the ratings are expected; None if the weights do not say.
      lag_s: seconds by which the curve lags behind the sound; None if it was not measured.
      unlikeness: how far the song is from those that the model was trained on; above 1 it is unlike
        them. None if the weights do not say.
      remarks: what was noticed about the input, such as that it is truncated.
      sample_rate: of the input in Hz, if known.
      name, artist: of the song, from its tags; '' if it has none.
      context_s: seconds at the start and at the end where the model had less context.
      weights: facts about the model's weights, by what they are called.
      picture: the log-Mel as (rows, columns), uint8, see `spectrogram.Thumbnail`; None if unknown.
    """

    source: str
    model: str
    times: np.ndarray
    valence: np.ndarray
    arousal: np.ndarray
    band: Band | None = None
    lag_s: float | None = None
    unlikeness: float | None = None
    remarks: tuple[str, ...] = ()
    sample_rate: int | None = None
    name: str = ""
    artist: str = ""
    context_s: tuple[float, float] = (0.0, 0.0)
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    picture: np.ndarray | None = None

    ok: ClassVar[Literal[True]] = True

    @property
    def title(self) -> str:
        """The file's name, fit to be shown."""
        return printable(os.path.basename(self.source))

    @property
    def values(self) -> np.ndarray:
        """Valence and arousal, (T, 2)."""
        return np.stack([self.valence, self.arousal], axis=1)

    @property
    def duration(self) -> float:
        """Seconds that the curve covers."""
        return SEGMENT_SECONDS * len(self.times)

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        means = f"valence {self.valence.mean():+.2f}, arousal {self.arousal.mean():+.2f}"
        remarks = f", {len(self.remarks)} remarks" if self.remarks else ""
        return f"<Curve of {self.source!r}: {self.duration:.1f} s, mean {means}{remarks}>"

    def to_dataframe(self) -> "pandas.DataFrame":
        """A pandas DataFrame, a row per segment: time_s, valence, arousal, and the band's limits.

        Its `attrs` hold the source, the model, the lag, the unlikeness and the remarks.

        Raises:
          ImportError: pandas is missing.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install pandas") from error
        columns = {"time_s": self.times, "valence": self.valence, "arousal": self.arousal}
        if self.band is not None:
            columns |= formats.csv.limits(self.band)
        frame = pandas.DataFrame(columns)
        frame.attrs = {
            "source": self.source,
            "model": self.model,
            "lag_s": self.lag_s,
            "unlikeness": self.unlikeness,
            "remarks": list(self.remarks),
        }
        return frame

    def to_csv(self, path: Path = None, *, band: bool = False) -> str | None:
        """CSV with the header `time_s,valence,arousal`; see `formats.csv`.

        Args:
          path: the file to write; if there is none, the text is returned.
          band: adds the band's limits as columns.

        Raises:
          ValueError: the band is wanted, and there is none.
        """
        return _written(path, formats.csv.text(self, band=band))

    def to_json(self, path: Path = None) -> str | None:
        """JSON with everything that is known about the curve; see `formats.json`."""
        return _written(path, formats.json.text(self))

    def to_jams(self, path: Path = None) -> str | None:
        """JAMS with an annotation `mood_thayer`; see `formats.jams`."""
        return _written(path, formats.jams.text(self))

    def to_audacity(self, path: Path = None) -> str | None:
        """An Audacity label track, a label per quadrant; see `formats.audacity`."""
        return _written(path, formats.audacity.text(self))

    def to_sonic_visualiser(self, path: Path = None) -> str | None:
        """Two layers for Sonic Visualiser (.svl); see `formats.sonic_visualiser`."""
        return _written(path, formats.sonic_visualiser.text(self))

    def plot(self, path: str | os.PathLike[str], *, plane: bool = False) -> None:
        """Writes a plot of the curve; the file's extension is its format: png, svg or pdf.

        Args:
          plane: also draws the path on the plane of valence and arousal.

        Raises:
          ImportError: matplotlib is missing.
          OSError: the file cannot be written.
        """
        try:
            from damff_jax.report import plots
        except ImportError as error:
            message = "plot needs matplotlib: pip install 'damff_jax[plot]'"
            raise ImportError(message) from error
        plots.plot_curve(path, self.title, self.times, self.values, notes=self.notes(), plane=plane)

    def to_html(self, path: str | os.PathLike[str], *, embed_audio: bool = False) -> None:
        """Writes a page with the curve, one file that refers to nothing but the song.

        Args:
          embed_audio: the page holds the song itself, instead of a link to its file.

        Raises:
          OSError: the page cannot be written, or the song cannot be read.
        """
        from damff_jax.report.pages import song_page

        song_page.write(path, self, embed_audio=embed_audio)

    def notes(self) -> list[str]:
        """Sentences about the model, the curve's times, and the input."""
        notes = [f"The model was {self.model}.", "A time is the start of its segment of 0.5 s."]
        if self.lag_s is not None:
            notes.append(f"The curve lags {self.lag_s:.1f} s behind the sound.")
        if self.unlikeness is not None and self.unlikeness > 1:
            notes.append("This file is unlike the training songs: the curve is not reliable.")
        return notes


@dataclasses.dataclass(frozen=True)
class Failure:
    """The result for an input without a curve.

    Attributes:
      source: the path of the file, as given.
      error: why.
    """

    source: str
    error: AudioError

    ok: ClassVar[Literal[False]] = False

    def __repr__(self) -> str:
        return f"<Failure of {self.source!r}: {self.error}>"


def _written(path: Path, text: str) -> str | None:
    if path is None:
        return text
    with atomic_write(path, newline="") as file:
        file.write(text)
    return None
