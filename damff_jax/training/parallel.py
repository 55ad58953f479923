"""The outermost layer: pure steps on all devices, by `pmap` or by `jit(shard_map)`.

Both run the same step, and give the same bits. The state has no device axis: it goes in and comes
out replicated. Neither verifies the latter; `assert_replicated` does. With several processes, each
has its own part of the batch, laid out for its own devices, and sums run over all devices.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from damff_jax.training import mapping, steps
from damff_jax.training.mapping import Lowerable
from damff_jax.training.steps import AXIS_NAME


def map_train_step(
    step: Callable,
    *,
    devices: list[jax.Device] | None = None,
    n_shared: int = 0,
    way: str = "pmap",
) -> "MappedStep":
    """`step(state, *shared, batch)` over devices; the batch's first axis is the device axis.

    The state's buffers are donated: it is updated in place. Returns the next state and the
    metrics, replicated.

    Args:
      n_shared: arguments between state and batch of which every device holds a full copy.
      way: one of `mapping.WAYS`.
    """
    mapped = mapping.mapped(
        step,
        devices,
        way,
        in_axes=(None,) * (1 + n_shared) + (0,),
        out_axes=None,
        donate_argnums=(0,),
    )
    return MappedStep(mapped, len(devices or jax.local_devices()), n_shared=1 + n_shared)


def map_train_step_on_songs(
    step: Callable,
    songs: Any,
    *,
    crop_segments: int,
    devices: list[jax.Device] | None = None,
    way: str = "pmap",
) -> Callable:
    """Puts songs on every device; returns `call(state, crops)`, see `train_steps_on_crops`."""
    songs = replicate(songs, devices=devices)
    step = functools.partial(steps.train_steps_on_crops, step=step, crop_segments=crop_segments)
    train_on = map_train_step(step, devices=devices, n_shared=1, way=way)
    return lambda state, crops: train_on(state, songs, crops)


def map_eval_step(
    step: Callable, *, devices: list[jax.Device] | None = None, way: str = "pmap"
) -> "FlatMappedStep":
    """`step(variables, log_mel, mask)` over this process's devices.

    The arrays (N, ...) have no device axis; N must be a multiple of the number of devices.
    """
    if jax.process_count() > 1:
        # Other processes have their own arrays.
        devices = devices or jax.local_devices()
    mapped = mapping.mapped(step, devices, way, in_axes=(None, 0, 0))
    return FlatMappedStep(mapped, len(devices or jax.local_devices()), n_shared=1)


@dataclasses.dataclass(frozen=True)
class MappedStep:
    """A mapped step that raises an error unless the batch is laid out for all devices.

    pmap would silently use fewer.

    Attributes:
      mapped: the result of pmap, or a jitted function.
      n_devices: number of devices on which it runs.
      n_shared: number of leading arguments without a device axis.
    """

    mapped: Lowerable
    n_devices: int
    n_shared: int

    def __call__(self, *arguments: Any) -> Any:
        return self.mapped(*self._laid_out(arguments))

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """As for every jitted function: to compile before the first call."""
        return self.mapped.lower(*self._laid_out(arguments))

    def trace(self, *arguments: Any) -> jax.stages.Traced:
        """As for every jitted function: to inspect the program."""
        trace = getattr(self.mapped, "trace", None) or jax.jit(self.mapped).trace
        return trace(*self._laid_out(arguments))

    def _laid_out(self, arguments: Sequence[Any]) -> Sequence[Any]:
        for leaf in jax.tree.leaves(arguments[self.n_shared :]):
            if leaf.shape[0] != self.n_devices:
                raise ValueError(
                    f"the batch is laid out for {leaf.shape[0]} devices instead of {self.n_devices}"
                )
        return arguments


class FlatMappedStep(MappedStep):
    """A step whose arrays have no device axis: (N, ...)."""

    def __call__(self, *arguments: Any) -> jax.Array:
        out = super().__call__(*arguments)
        return out.reshape(-1, *out.shape[2:])

    def _laid_out(self, arguments: Sequence[Any]) -> Sequence[Any]:
        shared, arrays = arguments[: self.n_shared], arguments[self.n_shared :]
        return *shared, *(x.reshape(self.n_devices, -1, *x.shape[1:]) for x in arrays)


def any_device() -> Callable[[bool], jax.Array]:
    """Returns a function that says whether its argument is true in any process: bool ()."""
    mapped = mapping.mapped(
        lambda yes: jax.lax.pmax(yes, AXIS_NAME), None, "pmap", in_axes=(0,), out_axes=None
    )
    return lambda yes: mapped(split(np.full(jax.local_device_count(), yes, np.int32)))


def prefetch(batches: Iterable[Any], *, devices: list[jax.Device] | None = None) -> Iterator[Any]:
    """Batches on their devices, each transferred while the previous step runs.

    The first axis of a batch's arrays is the device axis.
    """
    ahead: collections.deque[Any] = collections.deque()
    for batch in batches:
        ahead.append(split(batch, devices=devices))
        if len(ahead) > 1:
            yield ahead.popleft()
    yield from ahead


def one_device_twin(step: Callable) -> jax.stages.Wrapped:
    """The train step with the device axis vectorised on a single device: the same numbers."""
    return jax.jit(jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name=AXIS_NAME))


def replicate(tree: Any, *, devices: list[jax.Device] | None = None) -> Any:
    """Puts a copy on every device, laid out as pmap returns it, so that the step compiles once."""
    return jax.device_put(tree, _sharding(devices, PartitionSpec()))


def split(tree: Any, *, devices: list[jax.Device] | None = None) -> Any:
    """Spreads the arrays' first axis over the devices."""
    return jax.device_put(tree, _sharding(devices, PartitionSpec(AXIS_NAME)))


def _sharding(devices: list[jax.Device] | None, spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(mapping.mesh(devices or jax.local_devices()), spec)


def assert_replicated(tree: Any) -> None:
    """Checks bit for bit that every device holds the same values.

    Raises:
      AssertionError: naming the first leaf whose copies differ.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        for other in others:
            if first.shape != leaf.shape or first.tobytes() != other.tobytes():
                name = jax.tree_util.keystr(path)
                raise AssertionError(f"{name}: values differ between devices")
