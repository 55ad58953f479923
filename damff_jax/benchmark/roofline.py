"""How close a compiled program comes to the limits of its device.

There are two floors: the time of the arithmetic at the rate of a large matrix product, and the time
of the memory traffic at the rate of a large copy, both measured on the same device. The program's
time is compared with the larger one.

- Arithmetic is counted in the program as written: matrix products and convolutions, with all
  iterations of a `scan`. The compiler's own count is reported too, as `flops`, but it counts a
  loop's body once: on the CPU, where kernel gradients are loops over images, it is far too low.
- Traffic is the compiler's estimate (`bytes accessed`: what every fused operation reads and
  writes, counting a loop's body once). It includes data that stay in a cache and never reach the
  memory. So that floor is an estimate, and a program can be faster.
- Everything is per device. Simulated devices of one CPU share what is measured for one.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params

from damff_jax.benchmark.timing import Plan, Work, in_turns, median_and_spread
from damff_jax.training.mapping import Lowerable


class Cost(TypedDict):
    """The compiler's cost analysis of a program; None where it has no value."""

    flops: float | None
    bytes: float | None


class Analysis(Cost):
    """Properties of a program that are known before it runs."""

    compile_s: float
    model_flops: float


def analyse(function: Lowerable, *args: Any) -> Analysis:
    """Compiles a jitted or mapped function for its arguments; later calls reuse the result.

    Returns:
      `compile_s` (including tracing), the compiler's `flops` and `bytes` (None where it has no
      value), and `model_flops`.
    """
    started = time.perf_counter()
    compiled = function.lower(*args).compile()
    compile_s = time.perf_counter() - started
    return {"compile_s": compile_s, **cost(compiled), "model_flops": model_flops(function, *args)}


def roofline(
    seconds: np.ndarray, analysis: Analysis, ceilings: Mapping[str, float]
) -> dict[str, Any]:
    """The floors of a program in seconds, which one is larger, and the median relative to it."""
    compute_s = analysis["model_flops"] / ceilings["flops_per_s"]
    memory_s = None if analysis["bytes"] is None else analysis["bytes"] / ceilings["bytes_per_s"]
    floor_s = max(compute_s, memory_s or 0.0)
    return {
        "compute_s": compute_s,
        "memory_s": memory_s,
        "bound": "compute" if compute_s >= (memory_s or 0.0) else "memory",
        "ratio": median_and_spread(seconds)[0] / floor_s if floor_s else None,
        "ceilings": dict(ceilings),
    }


def cost(compiled: jax.stages.Compiled) -> Cost:
    """The compiler's `flops` and `bytes`, per device; None where it has no value."""
    analysis = compiled.cost_analysis() or {}
    return {"flops": analysis.get("flops"), "bytes": analysis.get("bytes accessed")}


@functools.cache
def ceilings(device: jax.Device, dtype: str) -> dict[str, float]:
    """Measured rates of a device: of a matrix product in `dtype`, and of a copy."""
    n, n_copied = (2048, 2**26) if device.platform == "cpu" else (8192, 2**28)
    matrix = jax.device_put(jnp.ones((n, n), dtype), device)
    product = jax.jit(jnp.matmul)
    source, target = (jax.device_put(jnp.full(n_copied, x), device) for x in (0.0, 1.0))
    # An addition, because a mere copy could be optimised away; into existing memory, because the
    # system provides new pages at a third of the rate.
    add = jax.jit(lambda target, source: source + 1, donate_argnums=0, keep_unused=True)

    def copy() -> jax.Array:
        nonlocal target
        target = add(target, source)
        return target

    works = {"product": lambda: product(matrix, matrix), "copy": copy}
    measured = in_turns(
        {name: jax_work(call, device) for name, call in works.items()}, Plan(rounds=5, seconds=0.5)
    )
    seconds = {name: median_and_spread(x)[0] for name, x in measured.items()}
    return {
        "flops_per_s": 2 * n**3 / seconds["product"],
        "bytes_per_s": 2 * source.nbytes / seconds["copy"],
    }


def jax_work(call: Callable[[], Any], device: jax.Device) -> Work:
    """A call that returns JAX arrays on this device."""
    return Work(call, jax.block_until_ready, pipelined=device.platform != "cpu")


def model_flops(function: Callable, *args: Any) -> float:
    """Floating-point operations of a function's matrix products and convolutions, 2 per product.

    If platforms have their own branches, the last one, the default, is counted: the others may do
    additional work because it is faster on their hardware.
    """
    trace = getattr(function, "trace", None) or jax.jit(function).trace
    return _flops(trace(*args).jaxpr.jaxpr)


def _flops(jaxpr: Jaxpr) -> float:
    total = 0.0
    # Traced gradients contain unused values, which the compiler removes.
    used = {x for x in jaxpr.outvars if isinstance(x, Var)}
    for equation in reversed(jaxpr.eqns):
        if used.isdisjoint(equation.outvars) and not equation.effects:
            continue
        used.update(x for x in equation.invars if isinstance(x, Var))
        total += _flops_of(equation)
    return total


def _flops_of(equation: JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        lhs = _shaped(equation.invars[0])
        n = _shaped(equation.outvars[0]).size
        return 2.0 * n * math.prod(lhs.shape[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel = _shaped(equation.invars[1])
        out_channels = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * _shaped(equation.outvars[0]).size * kernel.size / out_channels
    if name == "cond":
        return _flops(params["branches"][-1].jaxpr)
    rounds = params["length"] if name == "scan" else 1
    return rounds * sum(map(_flops, jaxprs_in_params(params)))


def _shaped(atom: Var | Literal) -> ShapedArray:
    """An operand's shape and dtype; operands of products have them."""
    assert isinstance(atom.aval, ShapedArray)
    return atom.aval
