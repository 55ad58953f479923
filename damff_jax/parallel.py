"""The outermost layer: pure steps on all local devices by `pmap`.

The state has no device axis: it goes in with `in_axes=None` and comes out with `out_axes=None`,
replicated. pmap takes the latter on trust, so what should be replicated can be checked here.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from damff_jax.steps import AXIS_NAME


def train_step(step: Callable, *, devices: list[jax.Device] | None = None) -> Callable:
    """`step(state, batch)` over devices; the batch's first axis is the devices'.

    The state's buffers are donated. Returns the next state and the metrics, replicated.
    """
    mapped = jax.pmap(
        step,
        axis_name=AXIS_NAME,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=(0,),
        devices=devices,
    )
    return _checked(mapped, devices)


def eval_step(step: Callable, *, devices: list[jax.Device] | None = None) -> Callable:
    """`step(variables, log_mel, mask)` over devices.

    The arrays (N, ...) come and go without a devices' axis; N must be a multiple of their number.
    """
    n_devices = len(devices or jax.local_devices())
    mapped = jax.pmap(step, axis_name=AXIS_NAME, in_axes=(None, 0, 0), devices=devices)
    mapped = _checked(mapped, devices)

    def lay_out(arrays):
        return (x.reshape(n_devices, -1, *x.shape[1:]) for x in arrays)

    def call(variables: Any, *arrays: np.ndarray) -> jax.Array:
        out = mapped(variables, *lay_out(arrays))
        return out.reshape(-1, *out.shape[2:])

    # As every mapped function has it, to compile ahead of the first call.
    call.lower = lambda variables, *arrays: mapped.lower(variables, *lay_out(arrays))
    return call


def one_device_twin(step: Callable) -> Callable:
    """The train step with the devices' axis vectorised on a single device: the same numbers."""
    return jax.jit(jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name=AXIS_NAME))


def replicate(tree: Any, *, devices: list[jax.Device] | None = None) -> Any:
    """Puts a copy on every device, as pmap will return it, so that the step compiles once."""
    mesh = jax.sharding.Mesh(
        np.asarray(devices or jax.local_devices()), (AXIS_NAME,), axis_types=(AxisType.Auto,)
    )
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


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


def _checked(mapped: Callable, devices: list[jax.Device] | None) -> Callable:
    """Refuses a batch that is not laid out for all devices; pmap would use fewer in silence."""
    n_devices = len(devices or jax.local_devices())

    @functools.wraps(mapped)
    def call(tree: Any, *arrays: Any) -> Any:
        for leaf in jax.tree.leaves(arrays):
            if leaf.shape[0] != n_devices:
                raise ValueError(f"a batch laid out for {leaf.shape[0]} of {n_devices} devices")
        return mapped(tree, *arrays)

    return call
