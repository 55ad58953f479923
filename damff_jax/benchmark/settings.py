"""What the command line asks for, in the terms of the suites."""

import dataclasses
import itertools
from collections.abc import Iterator

from damff_jax.benchmark.timing import Plan


class BenchmarkError(ValueError):
    """What was asked for cannot be measured here; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A size of the training step. The defaults are the one that names leave unsaid."""

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
    """Knobs of the suites.

    Attributes:
      batch_sizes, dtypes, devices: sizes to measure, all with all; batches are global, `devices`
        counts local ones.
      compare_torch: whether PyTorch is measured beside.
      rounds: of each measurement, at least; 0 leaves it to the suite.
      seconds: of each measurement, at least.
    """

    batch_sizes: tuple[int, ...] = (4,)
    dtypes: tuple[str, ...] = ("float32",)
    devices: tuple[int, ...] = (1,)
    compare_torch: bool = False
    rounds: int = 0
    seconds: float = 2.0

    def plan(self, *, rounds: int = 10, warmup: int = 2) -> Plan:
        """The plan of a suite that would by itself take so many rounds."""
        return Plan(rounds=self.rounds or rounds, seconds=self.seconds, warmup=warmup)

    def variants(self) -> Iterator[Variant]:
        for sizes in itertools.product(self.batch_sizes, self.dtypes, self.devices):
            yield Variant(*sizes)
