"""How a pure step is put on devices: by `pmap`, or by `jit(shard_map)`, which gives the same bits.

Both see the step's arguments without the device axis, sum over the axis `AXIS_NAME`, and get this
platform's compiler options. With several processes, a step on all devices takes and returns the
process's own part of every array.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, PartitionSpec

from damff_jax.training import compilation
from damff_jax.training.steps import AXIS_NAME

# Values of a config's setting `parallel`.
WAYS = ("pmap", "shard_map")
Axes = tuple[int | None, ...]
# Arrays with this axis have a part on every device; those without are replicated.
_SPECS = {0: PartitionSpec(AXIS_NAME), None: PartitionSpec()}


class Lowerable(Protocol):
    """A function that can be compiled before its first call, like those of pmap and jit."""

    def __call__(self, *arguments: Any) -> Any: ...

    def lower(self, *arguments: Any) -> jax.stages.Lowered: ...


def mapped(
    step: Callable,
    devices: list[jax.Device] | None,
    way: str,
    *,
    in_axes: Axes,
    out_axes: int | None = 0,
    donate_argnums: tuple[int, ...] = (),
) -> Lowerable:
    """A step on devices, with this platform's compiler options.

    Args:
      devices: on which it runs; None for all devices of all processes.
      way: one of `WAYS`.
      in_axes, out_axes, donate_argnums: as for pmap; an axis is 0 or None.

    Raises:
      ValueError: an unknown way.
    """
    if way not in WAYS:
        raise ValueError(f"parallel: {way!r}; available: {', '.join(WAYS)}")
    of_all = devices is None and jax.process_count() > 1
    devices = devices or _all_devices()
    options = compilation.options(jax.local_devices()[0].platform)
    put = {"pmap": _by_pmap, "shard_map": _by_shard_map}[way]
    function = put(step, devices, options, in_axes, out_axes, donate_argnums)
    if of_all and (options or way != "pmap"):
        return _OfAllProcesses(function, mesh(devices), in_axes, out_axes)
    return function


def _by_pmap(
    step: Callable,
    devices: list[jax.Device],
    options: dict[str, str],
    in_axes: Axes,
    out_axes: int | None,
    donate_argnums: tuple[int, ...],
) -> Lowerable:
    pmapped = jax.pmap(
        step,
        axis_name=AXIS_NAME,
        devices=devices,
        in_axes=in_axes,
        out_axes=out_axes,
        donate_argnums=donate_argnums,
    )
    if not options:
        return pmapped
    if jax.process_count() > 1:
        # jit would take one process's part of a batch for the whole.
        return _CompiledAtFirstCall(pmapped, options)
    # A lambda, because jit would otherwise use pmap's own `lower`, which ignores the options.
    return jax.jit(
        lambda *arguments: pmapped(*arguments),
        donate_argnums=donate_argnums,
        compiler_options=options,
    )


def _by_shard_map(
    step: Callable,
    devices: list[jax.Device],
    options: dict[str, str],
    in_axes: Axes,
    out_axes: int | None,
    donate_argnums: tuple[int, ...],
) -> Lowerable:
    def on_device(*arguments: Any) -> Any:
        pairs = zip(arguments, in_axes, strict=True)
        out = step(*(x if axis is None else _without_axis(x) for x, axis in pairs))
        return out if out_axes is None else jax.tree.map(lambda x: x[None], out)

    function = jax.shard_map(
        on_device,
        mesh=mesh(devices),
        in_specs=tuple(_SPECS[axis] for axis in in_axes),
        out_specs=_SPECS[out_axes],
        # The checks would change the derivative of a sum over devices, so the step would no longer
        # be the one of pmap and of the twin on one device.
        check_vma=False,
    )
    return jax.jit(function, donate_argnums=donate_argnums, compiler_options=options)


def _without_axis(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.squeeze(x, (0,)), tree)


@dataclasses.dataclass
class _CompiledAtFirstCall:
    """A function of pmap with compiler options, compiled for the shapes of its first call."""

    pmapped: Lowerable
    options: dict[str, str]
    _compiled: Callable | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._compiled is None:
            self._compiled = self.lower(*arguments).compile({**self.options})
        return self._compiled(*arguments)

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        return self.pmapped.lower(*arguments)


@dataclasses.dataclass(frozen=True)
class _OfAllProcesses:
    """A function over the devices of all processes, which takes and returns a process's parts."""

    mapped: Lowerable
    mesh: Mesh
    in_axes: Axes
    out_axes: int | None

    def __call__(self, *arguments: Any) -> Any:
        out = self.mapped(*self._joined(arguments))
        return multihost_utils.global_array_to_host_local_array(
            out, self.mesh, _SPECS[self.out_axes]
        )

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        return self.mapped.lower(*self._joined(arguments))

    def _joined(self, arguments: Sequence[Any]) -> Sequence[Any]:
        specs = tuple(_SPECS[axis] for axis in self.in_axes)
        return multihost_utils.host_local_array_to_global_array(tuple(arguments), self.mesh, specs)


def _all_devices() -> list[jax.Device]:
    """All devices of all processes, those of a process side by side, in pmap's order."""
    return [
        device
        for process in range(jax.process_count())
        for device in jax.local_devices(process_index=process)
    ]


def mesh(devices: list[jax.Device]) -> Mesh:
    """The devices along the axis `AXIS_NAME`."""
    return Mesh(np.asarray(devices), (AXIS_NAME,), axis_types=(AxisType.Auto,))
