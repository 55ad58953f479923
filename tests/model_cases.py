"""Shared by the tests of several models: a batch, variables, loss and gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from damff_jax.training import optim, train_state

BATCH, SEGMENTS, FRAMES, MELS = 2, 3, 8, 16


def batch(b=BATCH, t=SEGMENTS, f=FRAMES, m=MELS, seed=0):
    rng = np.random.default_rng(seed)
    log_mel = rng.normal(size=(b, t, f, m)).astype(np.float32)
    labels = rng.uniform(-1, 1, (b, t, 2)).astype(np.float32)
    mask = np.ones((b, t), bool)
    mask[-1, -1] = False
    return log_mel, labels, mask


def random_variables(model, log_mel, mask):
    """Variables that differ from all initial values, without compiling the initialisers."""
    rng = np.random.default_rng(1)

    def fill(path, leaf):
        if path[-1].key in ("scale", "var", "std"):
            return rng.uniform(0.8, 1.2, leaf.shape).astype(np.float32)
        fan_in = max(leaf.size // leaf.shape[-1], 1)
        return rng.normal(0, fan_in**-0.5, leaf.shape).astype(np.float32)

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), log_mel, mask, train=False))
    return jax.tree.map_with_path(fill, shapes)


def loss_and_grads(model, variables, log_mel, labels, mask):
    def loss_fn(params):
        y, updates = model.apply(
            {**variables, "params": params}, log_mel, mask, train=True, mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )  # fmt: skip
        present = mask[..., None]
        return jnp.sum(jnp.where(present, (y - labels) ** 2, 0)), (y, updates)

    return jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])


def optimizer_and_state(model, segment_shape, **settings):
    """An optimiser for ten steps with these settings, and the state before the first of them."""
    config = optim.OptimConfig(**settings)
    optimizer = optim.make_optimizer(config, optim.learning_rate_schedule(config, 10))
    n_mels = segment_shape[1]
    state = train_state.create(
        model,
        optimizer,
        seed=0,
        segment_shape=segment_shape,
        input_stats={"mean": np.full(n_mels, -30.0), "std": np.full(n_mels, 20.0)},
        with_ema=config.ema_decay > 0,
    )
    return optimizer, state
