"""How programs are compiled: XLA's options for the CPU, and the cache on disk."""

import contextlib
import functools
import hashlib
import os
import platform
from pathlib import Path

import jax

_FUSIONS_WITHOUT_YNN = {"xla_cpu_experimental_ynn_fusion_type": ""}
# Reading the cache saves nothing for programs that compile faster than this.
_WORTH_KEEPING_SECONDS = 0.1


@functools.cache
def options(platform_name: str) -> dict[str, str]:
    """XLA's options for `jax.jit(compiler_options=...)` on a platform.

    On the CPU, XLA by default passes convolutions to a library whose kernels take twice the time of
    Eigen's and use one core. The option that prevents this is experimental: an XLA that does not
    know it gets no options.
    """
    if platform_name != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=_FUSIONS_WITHOUT_YNN)(0)
    except jax.errors.JaxRuntimeError:
        return {}
    return _FUSIONS_WITHOUT_YNN


def use_cache() -> Path | None:
    """Caches compiled programs in the user's cache folder, so that a second start is faster.

    JAX's own settings take precedence: JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=false disables the cache. Returns the folder, if one is used.
    """
    if not jax.config.values["jax_enable_compilation_cache"]:
        return None
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING_SECONDS)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        # Without a writable home folder, nothing is cached.
        with contextlib.suppress(OSError, RuntimeError):
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            folder = folder / "damff_jax" / _processor()
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                jax.config.update("jax_compilation_cache_dir", str(folder))
    used = jax.config.values["jax_compilation_cache_dir"]
    return Path(used) if used else None


def _processor() -> str:
    """A name for this kind of processor: machines that need different programs may share a home."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return f"{platform.machine()}-{hashlib.sha256(line.encode()).hexdigest()[:8]}"
    return platform.machine()
