"""The outermost layer: pure steps on all devices by `pmap`.

The state has no device axis: it goes in with `in_axes=None` and comes out with `out_axes=None`,
replicated. pmap takes the latter on trust, so what should be replicated can be checked here. With
several processes, each has its own part of the batch, laid out for its own devices, and sums run
over the devices of all.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from damff_jax.training import compilation, steps
from damff_jax.training.steps import AXIS_NAME


class Lowerable(Protocol):
    """A function that can be compiled ahead of its first call, as those of pmap and jit can."""

    def __call__(self, *arguments: Any) -> Any: ...

    def lower(self, *arguments: Any) -> jax.stages.Lowered: ...


def map_train_step(
    step: Callable, *, devices: list[jax.Device] | None = None, n_shared: int = 0
) -> "MappedStep":
    """`step(state, *shared, batch)` over devices; the batch's first axis is the devices'.

    The state's buffers are donated: it is updated in place. Returns the next state and the
    metrics, replicated.

    Args:
      n_shared: arguments between state and batch that every device holds whole.
    """
    mapped = _pmap(
        step,
        devices,
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
) -> Callable:
    """Puts songs on every device; gives `call(state, crops)`, see `steps.train_steps_on_crops`."""
    songs = replicate(songs, devices=devices)
    step = functools.partial(steps.train_steps_on_crops, step=step, crop_segments=crop_segments)
    train_on = map_train_step(step, devices=devices, n_shared=1)
    return lambda state, crops: train_on(state, songs, crops)


def map_eval_step(step: Callable, *, devices: list[jax.Device] | None = None) -> "FlatMappedStep":
    """`step(variables, log_mel, mask)` over this process's devices.

    The arrays (N, ...) come and go without a devices' axis; N must be a multiple of their number.
    """
    if jax.process_count() > 1:
        # Other processes have their own arrays.
        devices = devices or jax.local_devices()
    mapped = _pmap(step, devices, in_axes=(None, 0, 0))
    return FlatMappedStep(mapped, len(devices or jax.local_devices()), n_shared=1)


@dataclasses.dataclass(frozen=True)
class MappedStep:
    """A step under pmap that refuses a batch for other than all devices.

    pmap would use fewer in silence.

    Attributes:
      mapped: what pmap, or jit of it, gave.
      n_devices: over which it runs.
      n_shared: the first arguments, which have no devices' axis.
    """

    mapped: Lowerable
    n_devices: int
    n_shared: int

    def __call__(self, *arguments: Any) -> Any:
        return self.mapped(*self._laid_out(arguments))

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """As of every jitted function: to compile ahead of the first call."""
        return self.mapped.lower(*self._laid_out(arguments))

    def trace(self, *arguments: Any) -> jax.stages.Traced:
        """As of every jitted function: to look at the program."""
        trace = getattr(self.mapped, "trace", None) or jax.jit(self.mapped).trace
        return trace(*self._laid_out(arguments))

    def _laid_out(self, arguments: Sequence[Any]) -> Sequence[Any]:
        for leaf in jax.tree.leaves(arguments[self.n_shared :]):
            if leaf.shape[0] != self.n_devices:
                raise ValueError(
                    f"a batch laid out for {leaf.shape[0]} of {self.n_devices} devices"
                )
        return arguments


class FlatMappedStep(MappedStep):
    """A step whose arrays have no devices' axis: (N, ...)."""

    def __call__(self, *arguments: Any) -> jax.Array:
        out = super().__call__(*arguments)
        return out.reshape(-1, *out.shape[2:])

    def _laid_out(self, arguments: Sequence[Any]) -> Sequence[Any]:
        shared, arrays = arguments[: self.n_shared], arguments[self.n_shared :]
        return *shared, *(x.reshape(self.n_devices, -1, *x.shape[1:]) for x in arrays)


def _pmap(step: Callable, devices: list[jax.Device] | None, **how: Any) -> Lowerable:
    """pmap with this platform's compiler options, which it takes from a jit around it."""
    mapped = jax.pmap(step, axis_name=AXIS_NAME, devices=devices, **how)
    options = compilation.options((devices or jax.local_devices())[0].platform)
    # With several processes, jit would take a process's part of a batch for the whole: there the
    # CPU does without its options.
    if not options or jax.process_count() > 1:
        return mapped
    # By way of a lambda, or jit would take over pmap's `lower`, which knows nothing of options.
    return jax.jit(
        lambda *arguments: mapped(*arguments),
        donate_argnums=how.get("donate_argnums", ()),
        compiler_options=options,
    )


def any_device() -> Callable[[bool], jax.Array]:
    """Gives a function that tells whether its argument is true in any process: bool ()."""
    mapped = _pmap(lambda yes: jax.lax.pmax(yes, AXIS_NAME), None, in_axes=0, out_axes=None)
    return lambda yes: mapped(split(np.full(jax.local_device_count(), yes, np.int32)))


def prefetch(batches: Iterable[Any], *, devices: list[jax.Device] | None = None) -> Iterator[Any]:
    """Batches on their devices, each sent while the step before it runs.

    The first axis of a batch's arrays is the devices'.
    """
    ahead: collections.deque[Any] = collections.deque()
    for batch in batches:
        ahead.append(split(batch, devices=devices))
        if len(ahead) > 1:
            yield ahead.popleft()
    yield from ahead


def one_device_twin(step: Callable) -> jax.stages.Wrapped:
    """The train step with the devices' axis vectorised on a single device: the same numbers."""
    return jax.jit(jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name=AXIS_NAME))


def replicate(tree: Any, *, devices: list[jax.Device] | None = None) -> Any:
    """Puts a copy on every device, as pmap will return it, so that the step compiles once."""
    return jax.device_put(tree, _sharding(devices, PartitionSpec()))


def split(tree: Any, *, devices: list[jax.Device] | None = None) -> Any:
    """Spreads the arrays' first axis over the devices."""
    return jax.device_put(tree, _sharding(devices, PartitionSpec(AXIS_NAME)))


def _sharding(devices: list[jax.Device] | None, spec: PartitionSpec) -> NamedSharding:
    along = np.asarray(devices or jax.local_devices())
    mesh = jax.sharding.Mesh(along, (AXIS_NAME,), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, spec)


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
                raise AssertionError(f"{name}: the devices hold different values")
