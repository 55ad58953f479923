"""XLA's options for the CPU, and the cache of compiled programs."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from damff_jax.training import compilation, parallel

ROOT = Path(__file__).parents[2]
PROGRAM = """
import jax, jax.numpy as jnp
from damff_jax.training import compilation
folder = compilation.use_cache()
print(jax.jit(lambda x: jnp.tanh(x @ x))(jnp.ones((8, 8))).sum() > 0, folder)
"""


def test_convolutions_of_mapped_steps_do_not_go_to_ynn_on_the_cpu():
    def step(variables, x, mask):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, variables, (1, 1), "SAME", dimension_numbers=dimensions
        )

    kernel, x = jnp.ones((3, 3, 16, 32)), jnp.ones((8, 24, 64, 16))
    apply = parallel.map_eval_step(step, devices=jax.local_devices()[:1])
    text = apply.lower(kernel, x, jnp.ones((8,), bool)).compile().as_text()
    assert "convolution" in text
    assert "__ynn" not in text
    # Without the option they do; otherwise it would no longer be needed.
    assert "__ynn" in jax.jit(step).lower(kernel, x, x).compile().as_text()


def test_platforms_and_compilers_without_the_option_get_none(monkeypatch):
    assert compilation.options("gpu") == compilation.options("tpu") == {}
    monkeypatch.setattr(compilation, "_FUSIONS_WITHOUT_YNN", {"xla_cpu_no_such_option": ""})
    assert compilation.options.__wrapped__("cpu") == {}


def run(tmp_path, **changes):
    environment = {name: x for name, x in os.environ.items() if not name.startswith(("JAX", "XDG"))}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    process = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", PROGRAM],
        env=environment | {name: str(x) for name, x in changes.items()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not process.stderr
    return process.stdout.split()


def entries(folder):
    return {path.name for path in folder.rglob("*-cache")}


def test_programs_are_kept_in_the_users_cache_folder(tmp_path):
    shown, folder = run(tmp_path, XDG_CACHE_HOME=tmp_path)
    assert shown == "True"
    assert Path(folder).is_relative_to(tmp_path / "damff_jax")
    kept = entries(tmp_path)
    assert kept
    run(tmp_path, XDG_CACHE_HOME=tmp_path)
    assert entries(tmp_path) == kept


@pytest.mark.parametrize("where", ["named", "off"])
def test_jaxs_own_settings_have_precedence(tmp_path, where):
    changes = {
        "named": {"JAX_COMPILATION_CACHE_DIR": tmp_path / "mine"},
        "off": {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    }[where]
    _, folder = run(tmp_path, XDG_CACHE_HOME=tmp_path / "home", **changes)
    assert not (tmp_path / "home").exists()
    assert folder == (str(tmp_path / "mine") if where == "named" else "None")


def test_without_a_writable_folder_nothing_is_cached(tmp_path):
    (tmp_path / "file").touch()
    assert run(tmp_path, XDG_CACHE_HOME=tmp_path / "file") == ["True", "None"]
