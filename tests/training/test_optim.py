import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax.training import optim
from damff_jax.training.optim import OptimConfig


def test_the_rate_warms_up_and_falls_to_zero_at_the_last_step():
    config = OptimConfig(learning_rate=1.0, warmup_fraction=0.1)
    schedule = optim.learning_rate_schedule(config, 100)
    rates = np.array([schedule(step) for step in range(100)])
    np.testing.assert_allclose(rates[:10], 0.1 * np.arange(1, 11), rtol=1e-6)
    assert np.argmax(rates) in (9, 10)
    assert np.all(np.diff(rates[10:]) < 0)
    assert schedule(100) == pytest.approx(0, abs=1e-7)


def test_a_constant_rate_stays():
    schedule = optim.learning_rate_schedule(
        OptimConfig(schedule="constant", warmup_fraction=0.0), 100
    )
    assert schedule(0) == schedule(99) == pytest.approx(1e-3)


def test_decay_reaches_kernels_only():
    config = OptimConfig(
        learning_rate=1.0, weight_decay=0.1, schedule="constant", warmup_fraction=0
    )
    params = {"dense": {"kernel": jnp.ones(3), "bias": jnp.ones(3)}, "norm": {"scale": jnp.ones(3)}}
    zero = {
        "dense": {"kernel": jnp.zeros(3), "bias": jnp.zeros(3)},
        "norm": {"scale": jnp.zeros(3)},
    }
    optimizer = optim.make_optimizer(config, optim.learning_rate_schedule(config, 10))
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.1, rtol=1e-6)
    assert not np.any(updates["dense"]["bias"])
    assert not np.any(updates["norm"]["scale"])


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.0},
        {"schedule": "linear"},
        {"warmup_fraction": 1.0},
        {"weight_decay": -1.0},
        {"clip_norm": -1.0},
        {"b1": 1.0},
        {"ema_decay": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="optim"):
        OptimConfig(**settings)


def test_the_rate_grows_with_the_root_of_the_batch_if_a_base_is_set():
    config = OptimConfig(learning_rate=1e-3, base_batch_size=16)
    assert config.scaled(16).learning_rate == 1e-3
    assert config.scaled(64).learning_rate == pytest.approx(2e-3)
    assert config.scaled(4).learning_rate == pytest.approx(5e-4)
    # Only once, and not by default.
    assert config.scaled(64).scaled(64) == config.scaled(64)
    assert OptimConfig().scaled(4096) == OptimConfig()
