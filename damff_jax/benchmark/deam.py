"""Suite `deam`: a whole training run of DEAM's size, from the first compilation to the last step.

1,744 random clips of 30 s are in the devices' memory in float16; 100 epochs of crops are taken from
there, many steps per call, in bfloat16. For accelerators: a CPU would take half a day.
"""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from damff_jax.benchmark import made_up, recipe
from damff_jax.benchmark.recipe import PAPER, Sizes
from damff_jax.benchmark.results import OURS, case
from damff_jax.benchmark.settings import Settings, Variant
from damff_jax.training import parallel
from damff_jax.training.crops import Crops

SUITE = "deam"


def cases(
    settings: Settings,
    sizes: Sizes = PAPER,
    *,
    n_songs: int = 1744,
    n_epochs: int = 100,
    batch_size: int = 128,
    steps_per_call: int = 32,
) -> Iterator[dict[str, Any]]:
    """Case `run` for every number of devices: seconds of the run, including compilation.

    `compile_s` lasts until the end of the first call, including the transfer of the songs.
    """
    songs = made_up.songs(n_songs, sizes.segments, sizes.frames, sizes.n_mels)
    n_calls = -(-n_songs * n_epochs // (batch_size * steps_per_call))
    for n_devices in settings.devices:
        started = time.perf_counter()
        devices = recipe.local_devices(n_devices)
        _, state, step = recipe.build(Variant(batch_size, "bfloat16", n_devices), sizes)
        train_step = parallel.map_train_step_on_songs(
            step, songs.arrays(), crop_segments=sizes.segments, devices=devices
        )
        crops = Crops(
            songs,
            batch_size=batch_size,
            crop_segments=sizes.segments,
            seed=0,
            steps_per_call=steps_per_call,
            n_devices=n_devices,
        )
        batches = parallel.prefetch(crops.calls(), devices=devices)
        for call in range(n_calls):
            state, metrics = train_step(state, next(batches))
            if call == 0:
                jax.block_until_ready(metrics)
                first_call_s = time.perf_counter() - started
        jax.block_until_ready((state, metrics))
        yield case(
            SUITE,
            Variant(n_devices=n_devices).name("run"),
            {OURS: np.array([time.perf_counter() - started])},
            n_clips=n_calls * steps_per_call * batch_size,
            n_devices=n_devices,
            compile_s=first_call_s,
        )
