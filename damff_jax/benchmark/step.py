"""Suite `step`: the train step and the eval step of the whole model, as `train.py` builds them.

The batch is already on the devices, in float16 as in the shards; suite `input` measures the
transfer. The peer is the same model in PyTorch with the same loss, clipping and AdamW (with decay
of all parameters and a constant learning rate), its batch also on the device; see `torch_works`.
There is no peer for several devices. Our step returns all metrics, the peer's only the loss.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from damff_jax.benchmark import made_up, recipe
from damff_jax.benchmark.recipe import PAPER, Sizes
from damff_jax.benchmark.results import OURS, case
from damff_jax.benchmark.roofline import analyse, ceilings, jax_work, roofline
from damff_jax.benchmark.settings import Settings, Variant
from damff_jax.benchmark.timing import Work, in_turns
from damff_jax.training import parallel

SUITE = "step"


def cases(settings: Settings, sizes: Sizes = PAPER) -> Iterator[dict[str, Any]]:
    """Cases `train` and `eval` of every variant."""
    for variant in settings.variants():
        yield from _cases_of(variant, settings, sizes)


def _cases_of(variant: Variant, settings: Settings, sizes: Sizes) -> Iterator[dict[str, Any]]:
    devices = recipe.local_devices(variant.n_devices)
    model, state, step = recipe.build(variant, sizes)
    train_step = recipe.train_step(step, devices)
    eval_step = recipe.eval_step(model, devices)
    shape = sizes.segments, sizes.frames, sizes.n_mels
    batch = made_up.batch(variant.batch_size, *shape, n_devices=variant.n_devices)
    train_batch = parallel.split(batch, devices=devices)
    log_mel, mask = (
        batch[name].reshape(variant.batch_size, *batch[name].shape[3:])
        for name in ("log_mel", "mask")
    )
    eval_arrays = parallel.split((log_mel, mask), devices=devices)
    variables = jax.tree.map(lambda x: x.copy(), state.eval_variables())

    programs = {
        "train": (train_step, (state, train_batch)),
        "eval": (eval_step, (variables, *eval_arrays)),
    }
    for name, (program, arguments) in programs.items():
        analysis = analyse(program, *arguments)
        make_call = training if name == "train" else _applying
        call = make_call(program, *arguments)
        works = {OURS: jax_work(call, devices[0])}
        if settings.compare_torch and variant.n_devices == 1:
            works["torch"] = _torch_work(name, variant, sizes, batch, devices[0])
        seconds = in_turns(works, settings.plan())
        yield case(
            SUITE,
            variant.name(name),
            seconds,
            n_clips=variant.batch_size,
            n_devices=variant.n_devices,
            **analysis,
            roofline=roofline(seconds[OURS], analysis, ceilings(devices[0], variant.dtype)),
        )


def training(step: Callable, state: Any, batch: Any) -> Callable[[], Any]:
    """A call that does the next step: the state is donated, so each call needs the last one's."""

    def call():
        nonlocal state
        state, metrics = step(state, batch)
        return state, metrics

    return call


def _applying(step: Callable, *arguments: Any) -> Callable[[], Any]:
    return lambda: step(*arguments)


def _torch_work(
    name: str, variant: Variant, sizes: Sizes, batch: dict[str, np.ndarray], device: jax.Device
) -> Work:
    from damff_jax.benchmark import torch_works

    make = {"train": torch_works.train_step, "eval": torch_works.eval_step}[name]
    return make(sizes, batch, dtype=variant.dtype, on_gpu=device.platform == "gpu")
