"""The optimiser: AdamW with warm-up, a schedule and clipping by the global norm."""

import dataclasses
import math

import jax
import optax


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Settings of the optimiser.

    Args:
      learning_rate: the highest, reached after the warm-up.
      base_batch_size: the batch for which `learning_rate` is meant, see `scaled`; 0: no scaling.
      schedule: 'cosine' (down to 0 at the last step) or 'constant'.
      warmup_fraction: share of the steps over which the rate rises linearly from 0.
      weight_decay: decoupled (AdamW), on matrices and kernels only.
      clip_norm: limit of the gradient's global norm; 0 for none.
      b1, b2: decay rates of Adam's moments.
      ema_decay: decay of the moving average of parameters and batch statistics, which evaluation
        and prediction then use; 0 for none.
    """

    learning_rate: float = 1e-3
    base_batch_size: int = 0
    schedule: str = "cosine"
    warmup_fraction: float = 0.05
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    b1: float = 0.9
    b2: float = 0.999
    ema_decay: float = 0.0

    def __post_init__(self):
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(f"optim.schedule: {self.schedule!r} is neither cosine nor constant")
        for name in ("warmup_fraction", "b1", "b2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"optim.{name}: {getattr(self, name)} is outside [0, 1)")
        if self.learning_rate <= 0 or min(self.weight_decay, self.clip_norm) < 0:
            raise ValueError(
                "optim: learning_rate must be positive, weight_decay and clip_norm not negative"
            )
        if self.base_batch_size < 0:
            raise ValueError("optim.base_batch_size must not be negative")

    def scaled(self, batch_size: int) -> "OptimConfig":
        """The same with the learning rate for a batch of this size: × √(batch / base batch).

        The rule for Adam's kind of optimiser (Malladi et al., "On the SDEs and Scaling Rules for
        Adaptive Gradient Algorithms", 2022): the noise of its updates falls with the root of the
        batch, not with the batch as that of SGD.
        """
        if not self.base_batch_size:
            return self
        rate = self.learning_rate * math.sqrt(batch_size / self.base_batch_size)
        return dataclasses.replace(self, learning_rate=rate, base_batch_size=0)


def learning_rate_schedule(config: OptimConfig, num_train_steps: int) -> optax.Schedule:
    """The learning rate by step."""
    warmup_steps = round(config.warmup_fraction * num_train_steps)
    rest = max(num_train_steps - warmup_steps, 1)
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(config.learning_rate, rest)
    else:
        main = optax.constant_schedule(config.learning_rate)
    if not warmup_steps:
        return main
    # The first step's rate is above 0, and the warm-up's last step has the full rate.
    step_up = config.learning_rate / warmup_steps
    warmup = optax.linear_schedule(step_up, config.learning_rate + step_up, warmup_steps)
    return optax.join_schedules([warmup, main], [warmup_steps])


def make_optimizer(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Clipping, then AdamW."""
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(
        clip,
        optax.adamw(
            schedule,
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(_is_kernel, params_with_names(params)),
        ),
    )


def params_with_names(params):
    """The tree with every leaf replaced by its own name."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key, params)


def _is_kernel(name: str) -> bool:
    return name.endswith("kernel")
