"""What a program runs on: the machine, and the versions of libraries."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "torch", "tensorflow", "librosa", "numpy")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        for distribution in (package, f"{package}-cpu"):
            try:
                found.setdefault(package, importlib.metadata.version(distribution))
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def device() -> dict[str, Any]:
    """The devices and the processor of this machine."""
    import jax

    devices = jax.local_devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processor": processor(),
        "cores": n_cores(),
    }


def processor() -> str:
    """The processor's name, as far as the operating system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2] for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def n_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
