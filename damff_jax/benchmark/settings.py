"""The settings of the suites, from the command line."""

import dataclasses
import itertools
from collections.abc import Iterator

from damff_jax.benchmark.timing import Plan


class BenchmarkError(ValueError):
    """Something cannot be measured here; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A size of the training step. The names of cases do not mention the defaults."""

    batch_size: int = 4
    dtype: str = "float32"
    n_devices: int = 1

    def name(self, case: str) -> str:
        """The case's name, followed by what differs from the defaults."""
        parts = [case]
        if self.batch_size != Variant.batch_size:
            parts.append(f"batch{self.batch_size}")
        if self.dtype != Variant.dtype:
            parts.append(self.dtype)
        if self.n_devices != Variant.n_devices:
            parts.append(f"devices{self.n_devices}")
        return "/".join(parts)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the suites.

    Attributes:
      batch_sizes, dtypes, devices: sizes to measure, in all combinations; batches are global,
        `devices` are numbers of local devices.
      songs: numbers of songs to train on, see `reading`; `steps` is the length of that training.
      compare_torch: whether PyTorch is measured too.
      rounds: minimum number of rounds per measurement; 0 for the suite's default.
      seconds: minimum time per measurement.
    """

    batch_sizes: tuple[int, ...] = (4,)
    dtypes: tuple[str, ...] = ("float32",)
    devices: tuple[int, ...] = (1,)
    songs: tuple[int, ...] = (200,)
    steps: int = 50
    compare_torch: bool = False
    rounds: int = 0
    seconds: float = 2.0

    def plan(self, *, rounds: int = 10, warmup: int = 2) -> Plan:
        """The plan of a suite; its arguments are the suite's defaults."""
        return Plan(rounds=self.rounds or rounds, seconds=self.seconds, warmup=warmup)

    def variants(self) -> Iterator[Variant]:
        for sizes in itertools.product(self.batch_sizes, self.dtypes, self.devices):
            yield Variant(*sizes)
