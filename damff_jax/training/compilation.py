"""How programs are compiled: XLA's options for the CPU, and the cache on disk."""

import contextlib
import functools
import hashlib
import os
import platform
from pathlib import Path

import jax

_FUSIONS_WITHOUT_YNN = {"xla_cpu_experimental_ynn_fusion_type": ""}
# Of what compiles faster than this, reading the cache would save nothing.
_WORTH_KEEPING_SECONDS = 0.1


@functools.cache
def options(platform_name: str) -> dict[str, str]:
    """XLA's options for `jax.jit(compiler_options=...)` on a platform.

    On the CPU, XLA would hand convolutions to a library whose kernels take twice the time of
    Eigen's and use one core. The option is experimental: where this XLA does not know it, there
    is none.
    """
    if platform_name != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=_FUSIONS_WITHOUT_YNN)(0)
    except jax.errors.JaxRuntimeError:
        return {}
    return _FUSIONS_WITHOUT_YNN


def use_cache() -> Path | None:
    """Keeps compiled programs in the user's cache folder, so that a second start need not compile.

    JAX's own settings have precedence: JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=false switches the cache off. Gives the folder, if one is used.
    """
    if not jax.config.values["jax_enable_compilation_cache"]:
        return None
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING_SECONDS)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        # Without a home, or with one that cannot be written to, every program is compiled.
        with contextlib.suppress(OSError, RuntimeError):
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            folder = folder / "damff_jax" / _processor()
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                jax.config.update("jax_compilation_cache_dir", str(folder))
    used = jax.config.values["jax_compilation_cache_dir"]
    return Path(used) if used else None


def _processor() -> str:
    """Names this kind of processor: homes are shared by machines whose programs differ."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return f"{platform.machine()}-{hashlib.sha256(line.encode()).hexdigest()[:8]}"
    return platform.machine()
