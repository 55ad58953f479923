"""The results: a case, and the JSON file of all cases.

A spread is the interquartile range of the rounds. A ratio is the median over the rounds of (our
seconds / the peer's seconds in the same round), so below 1 ours is faster. Unlike in a ratio of
medians, drift that is slower than a round cancels out.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from damff_jax.benchmark.settings import BenchmarkError
from damff_jax.benchmark.timing import median_and_spread
from damff_jax.system.files import atomic_write
from damff_jax.system.machine import device, versions

OURS = "ours"


def case(
    suite: str,
    name: str,
    seconds: Mapping[str, np.ndarray],
    *,
    compile_s: float | None = None,
    n_clips: int | None = None,
    n_devices: int = 1,
    **more: Any,
) -> dict[str, Any]:
    """A case as in the JSON file.

    Args:
      seconds: by round, of 'ours' and of the peers by name.
      compile_s: compile time of ours; None if nothing is compiled.
      n_clips: clips (crops, songs) per call, over all devices.
      more: further results of the suite.
    """
    median_s, spread_s = median_and_spread(seconds[OURS])
    peers = {name: x for name, x in seconds.items() if name != OURS}
    statistics = {peer: median_and_spread(x) for peer, x in peers.items()}
    ratios = {peer: median_and_spread(seconds[OURS] / x) for peer, x in peers.items()}
    clips_per_s = None if n_clips is None else n_clips / median_s
    return {
        "suite": suite,
        "name": name,
        "median_s": median_s,
        "spread_s": spread_s,
        "rounds": len(seconds[OURS]),
        "compile_s": compile_s,
        "ratio": {peer: median for peer, (median, _) in ratios.items()},
        "ratio_spread": {peer: spread for peer, (_, spread) in ratios.items()},
        "peers": {
            peer: {"median_s": median, "spread_s": spread}
            for peer, (median, spread) in statistics.items()
        },
        "clips_per_s": clips_per_s,
        "clips_per_s_per_device": None if clips_per_s is None else clips_per_s / n_devices,
        **more,
    }


def document(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of the JSON file."""
    return {"device": device(), "versions": versions(), "cases": list(cases)}


def write(path: str | os.PathLike, cases: Sequence[Mapping[str, Any]]) -> None:
    """Writes the JSON file, atomically."""
    with atomic_write(path) as file:
        json.dump(document(cases), file, indent=2, allow_nan=False)


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file of an earlier run.

    Raises:
      BenchmarkError: the file cannot be read, or is not such a file.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        for old in content["cases"]:
            _ = old["suite"], old["name"], old["median_s"] / 1, old["spread_s"] / 1
        _ = content["device"]
    except OSError as error:
        raise BenchmarkError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}: not a JSON file of the benchmark") from error
    return content


def title() -> str:
    """One line about the machine and the version of JAX."""
    about = device()
    name = f"{about['count']} × {about['kind']}, {about['processor']}, {about['cores']} cores"
    return f"{name}, JAX {versions()['jax']}"
