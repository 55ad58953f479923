"""Set-up that must come before JAX and TensorFlow are imported."""

import os
import tempfile

# Four simulated devices, so that what depends on their number can be tested anywhere.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)
# Tests build the same steps again and again; the processes that they start share the cache, and so
# do the workers of a run in parallel, which inherit it.
_cache = None
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="damff_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["MPLBACKEND"] = "agg"


def pytest_unconfigure():
    if _cache is not None:
        _cache.cleanup()
