"""Set-up that must run before JAX and TensorFlow are imported, and fixtures of several files."""

import contextlib
import os
import resource
import tempfile

import pytest

# Four simulated devices, so that several devices can be tested on any machine.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)
# Tests compile the same steps repeatedly. The processes that they start share the cache, and so do
# the workers of a parallel run, which inherit it.
_cache = None
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="damff_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# Most of the tests' time is spent compiling programs that run once. Long tests and speed tests,
# whose programs run longer, should not disable optimisations.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["MPLBACKEND"] = "agg"


def pytest_unconfigure():
    if _cache is not None:
        _cache.cleanup()


@pytest.fixture
def fake_fluidsynth(tmp_path, monkeypatch):
    """A program named fluidsynth that writes nothing."""
    program = tmp_path / "bin" / "fluidsynth"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


@pytest.fixture
def soundfonts(fake_fluidsynth, tmp_path, monkeypatch):
    """Two selected soundfonts, which are empty files, because nothing is rendered."""
    paths = [str(tmp_path / name) for name in ("first.sf2", "second.sf2")]
    for path in paths:
        open(path, "w").close()
    monkeypatch.setenv("DAMFF_SOUNDFONT", os.pathsep.join(paths))
    return paths


@pytest.fixture
def files_up_to():
    """A context in which writing more than `n_bytes` to a file fails, as on a full disk."""

    @contextlib.contextmanager
    def limited(n_bytes):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited
