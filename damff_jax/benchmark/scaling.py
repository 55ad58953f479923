"""Suite `scaling`: a prediction of the training step on 8 to 1,024 chips. It measures one of them.

Every chip has as many clips as the one that is measured. What its step adds on many is the time of
the collectives, whose number and bytes are counted in the compiled program. Nothing is assumed to
overlap with them, so the prediction is that of a network that is never hidden behind arithmetic.
Waiting for the slowest chip, and for the input, is not part of it.

Links have the speeds that their makers state; latencies are assumptions.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from damff_jax.benchmark import collectives, made_up, recipe
from damff_jax.benchmark.collectives import Collective
from damff_jax.benchmark.recipe import PAPER, Sizes
from damff_jax.benchmark.results import OURS, case
from damff_jax.benchmark.roofline import jax_work
from damff_jax.benchmark.settings import Settings, Variant
from damff_jax.benchmark.step import training
from damff_jax.benchmark.table import format_seconds
from damff_jax.benchmark.timing import in_turns
from damff_jax.training import parallel

SUITE = "scaling"
CHIPS = (8, 16, 32, 64, 128, 256, 512, 1024)


@dataclasses.dataclass(frozen=True)
class Level:
    """A part of a network that joins chips, or groups of chips.

    Attributes:
      size: how many it joins at most.
      bytes_per_s: what a chip sends, in one direction.
      hop_s: latency from one to the next.
      dimensions: of a torus; 0 for a switch.
    """

    size: float
    bytes_per_s: float
    hop_s: float
    dimensions: int = 0

    def hops(self, n: int) -> float:
        """Hops of a sum that reaches all of n: rings along a torus, a tree through a switch."""
        if not self.dimensions:
            return math.log2(n)
        doublings = round(math.log2(n))
        sides = [
            2 ** (doublings // self.dimensions + (i < doublings % self.dimensions))
            for i in range(self.dimensions)
        ]
        return sum(side - 1 for side in sides)


NETWORKS = {
    # 1,200 GB/s in both directions together; a 3D torus of up to 8,960 chips.
    "tpu_v5p": [Level(8960, 600e9, 1e-6, dimensions=3)],
    # 400 GB/s in both directions; a 2D torus of up to 256 chips; 6.4 Tbit/s between such pods.
    "tpu_v5e": [Level(256, 200e9, 1e-6, dimensions=2), Level(math.inf, 3.1e9, 25e-6)],
    # NVLink with 900 GB/s in both directions; 400 Gbit/s of InfiniBand for every GPU.
    "h100": [Level(8, 450e9, 1e-6), Level(math.inf, 50e9, 5e-6)],
}


def seconds(found: Sequence[Collective], n_chips: int, network: Sequence[Level]) -> float:
    """The time of a step's collectives, each a reduce-scatter and an all-gather on every level."""
    total, n_bytes, left = 0.0, float(sum(one.n_bytes for one in found)), n_chips
    for level in network:
        n = int(min(left, level.size))
        if n > 1:
            total += 2 * n_bytes * (n - 1) / n / level.bytes_per_s
            total += 2 * len(found) * level.hops(n) * level.hop_s
        # The next level joins groups, whose chips have a part of the sum each.
        n_bytes, left = n_bytes / n, left // n
    return total


def cases(settings: Settings, sizes: Sizes = PAPER) -> Iterator[dict[str, Any]]:
    """A case per network and number of chips, for every batch size and dtype."""
    for variant in dict.fromkeys(
        dataclasses.replace(variant, n_devices=1) for variant in settings.variants()
    ):
        found = collectives.of_training_step(variant.dtype, sizes.model)
        measured = _measure(variant, settings, sizes)
        for network, levels in NETWORKS.items():
            for n_chips in CHIPS:
                yield _predicted(variant, measured, found, network, levels, n_chips)


def _measure(variant: Variant, settings: Settings, sizes: Sizes) -> np.ndarray:
    """Seconds per step on one device, by round."""
    devices = recipe.local_devices(1)
    _, state, step = recipe.build(variant, sizes)
    batch = made_up.batch(variant.batch_size, sizes.segments, sizes.frames, sizes.n_mels)
    call = training(recipe.train_step(step, devices), state, parallel.split(batch, devices=devices))
    return in_turns({OURS: jax_work(call, devices[0])}, settings.plan())[OURS]


def _predicted(
    variant: Variant,
    measured: np.ndarray,
    found: Sequence[Collective],
    network: str,
    levels: Sequence[Level],
    n_chips: int,
) -> dict[str, Any]:
    added_s = seconds(found, n_chips, levels)
    share = float(np.median(measured / (measured + added_s)))
    return case(
        SUITE,
        variant.name(f"{network}/{n_chips}"),
        {OURS: measured + added_s},
        n_clips=variant.batch_size * n_chips,
        n_devices=n_chips,
        notes=[
            f"PREDICTION: {format_seconds(added_s)} for {len(found)} sums, "
            f"{share:.1%} of {n_chips} × one chip"
        ],
        prediction={
            "measured_s": float(np.median(measured)),
            "collectives": len(found),
            "bytes": sum(one.n_bytes for one in found),
            "collectives_s": added_s,
            "of_linear": share,
        },
    )
