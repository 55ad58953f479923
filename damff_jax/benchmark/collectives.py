"""What the devices send to each other in a step, counted in the compiled program.

Run as a program, `python -m damff_jax.benchmark.collectives DTYPE MODEL`, it compiles the training
step for simulated devices, so that it can be counted where there is a single one.
"""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from damff_jax.benchmark.settings import BenchmarkError
from damff_jax.system.subprocesses import environment

N_DEVICES = 4
_OPERATION = re.compile(
    r"= (?P<types>\(.*?\)|\S+) "
    r"(?P<kind>all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(-start)?\("
)
_TYPE = re.compile(r"(?P<letter>[a-z]+)(?P<bits>\d+)\S*?\[(?P<shape>[\d,]*)\]")


class Collective(NamedTuple):
    """An operation in which all devices take part, and the bytes of its results on a device."""

    kind: str
    n_bytes: int


def in_program(text: str) -> list[Collective]:
    """The collectives of a compiled program; those of a loop's body are counted once.

    Args:
      text: the program, as `jax.stages.Compiled.as_text` returns it.
    """
    found = []
    for operation in _OPERATION.finditer(text):
        n_bytes = 0
        for one in _TYPE.finditer(operation["types"]):
            n_values = math.prod(int(n) for n in one["shape"].split(",") if n)
            n_bytes += n_values * int(one["bits"]) // 8
        found.append(Collective(operation["kind"], n_bytes))
    return found


def of_training_step(dtype: str, model: Mapping[str, Any]) -> list[Collective]:
    """Those of the training step at the paper's resolution, compiled by another process.

    Raises:
      BenchmarkError: it cannot be compiled; the message is its last line.
    """
    flag = f"--xla_force_host_platform_device_count={N_DEVICES}"
    compiled = subprocess.run(
        [sys.executable, "-m", __name__, dtype, json.dumps(model)],
        env={**environment(), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag},
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode:
        reason = compiled.stderr.strip().splitlines() or ["no message"]
        raise BenchmarkError(f"scaling: the step cannot be compiled ({reason[-1]})")
    return [Collective(*one) for one in json.loads(compiled.stdout)]


def _compile(dtype: str, model: Mapping[str, Any]) -> list[Collective]:
    from damff_jax.benchmark import made_up, recipe
    from damff_jax.benchmark.settings import Variant

    # The number of segments is not in any of the sums.
    sizes = recipe.Sizes(segments=2, model=model)
    variant = Variant(N_DEVICES, dtype, N_DEVICES)
    devices = recipe.local_devices(N_DEVICES)
    _, state, step = recipe.build(variant, sizes)
    batch = made_up.batch(
        N_DEVICES, sizes.segments, sizes.frames, sizes.n_mels, n_devices=N_DEVICES
    )
    program = recipe.train_step(step, devices).lower(state, batch).compile()
    text = program.as_text()
    assert text is not None  # The CPU's compiler has one.
    return in_program(text)


if __name__ == "__main__":
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    print(json.dumps(_compile(sys.argv[1], json.loads(sys.argv[2]))))
