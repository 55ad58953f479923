"""The settings of MER1101: when its audio begins, and how its songs are split."""

import dataclasses

from input_pipeline.corpus import Options
from input_pipeline.folder.settings import FolderSplit


@dataclasses.dataclass(frozen=True)
class Mer1101Options(Options):
    """Options of the MER1101 builder.

    Args:
      audio_start: the second of the song at which every audio file begins.
    """

    audio_start: float = 0.0


@dataclasses.dataclass(frozen=True)
class Mer1101Split(FolderSplit):
    """How MER1101's songs are split, see `FolderSplit`; the paper's split is not known."""

    validation_fraction: float = 0.1
    test_fraction: float = 0.2


OPTIONS, SPLIT = Mer1101Options, Mer1101Split
