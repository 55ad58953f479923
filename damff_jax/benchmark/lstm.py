"""Suite `lstm`: forward and backward of the bidirectional LSTM, 192 features to 48 per direction.

32 sequences of 60 segments; gradients of the parameters and of the input. Peers: Flax's own
(`linen_rnn`: `nn.Bidirectional` of `nn.RNN` over `OptimizedLSTMCell`), PyTorch's, and on a GPU
cuDNN's through `jax.experimental.rnn`.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from damff_jax.benchmark.recipe import local_devices
from damff_jax.benchmark.results import OURS, case
from damff_jax.benchmark.roofline import analyse, ceilings, jax_work, roofline
from damff_jax.benchmark.settings import BenchmarkError, Settings, Variant
from damff_jax.benchmark.timing import in_turns
from damff_jax.models import DTYPES
from damff_jax.models.kernels.lstm import LSTM
from damff_jax.training.compilation import options

SUITE = "lstm"

# (variables, x_BxTxD) → (B, T, 2 H)
Apply = Callable[[Any, jax.Array], jax.Array]


def cases(
    settings: Settings,
    *,
    batch_size: int = 32,
    segments: int = 60,
    features: int = 192,
    hidden_size: int = 48,
) -> Iterator[dict[str, Any]]:
    """Case `train` for every dtype."""
    (device,) = local_devices(1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch_size, segments, features), np.float32)
    cotangent = rng.standard_normal((batch_size, segments, 2 * hidden_size), np.float32)
    for dtype in settings.dtypes:
        layers = {OURS: _ours(x, hidden_size, dtype), "linen_rnn": _linen(x, hidden_size, dtype)}
        if device.platform == "gpu" and dtype == "float32":
            layers["cudnn"] = _cudnn(x, hidden_size)
        works = {}
        for name, (apply, variables) in layers.items():
            step = jax.jit(_gradients(apply), compiler_options=options(device.platform))
            arguments = jax.device_put((variables, x, cotangent), device)
            if name == OURS:
                analysis = analyse(step, *arguments)
            works[name] = jax_work(functools.partial(step, *arguments), device)
        if settings.compare_torch:
            from damff_jax.benchmark import torch_works

            on_gpu = device.platform == "gpu"
            works["torch"] = torch_works.lstm(x, cotangent, hidden_size, dtype=dtype, on_gpu=on_gpu)
        seconds = in_turns(works, settings.plan())
        yield case(
            SUITE,
            Variant(dtype=dtype).name("train"),
            seconds,
            n_clips=batch_size,
            **analysis,
            roofline=roofline(seconds[OURS], analysis, ceilings(device, dtype)),
        )


def _ours(x: np.ndarray, hidden_size: int, dtype: str) -> tuple[Apply, Any]:
    layer = LSTM(hidden_size, dtype=DTYPES[dtype])
    mask = jnp.ones(x.shape[:2], bool)
    variables = jax.jit(layer.init)(jax.random.key(0), x, mask)
    return _applied(layer, mask), variables


def _linen(x: np.ndarray, hidden_size: int, dtype: str) -> tuple[Apply, Any]:
    cells = (nn.OptimizedLSTMCell(hidden_size, dtype=DTYPES[dtype]) for _ in range(2))
    forward, backward = map(nn.RNN, cells)
    layer = nn.Bidirectional(forward, backward)
    return _applied(layer), jax.jit(layer.init)(jax.random.key(0), x)


def _applied(layer: nn.Module, *mask: jax.Array) -> Apply:
    def apply(variables: Any, x_BxTxD: jax.Array) -> jax.Array:
        y_BxTxH = layer.apply(variables, x_BxTxD, *mask)
        assert isinstance(y_BxTxH, jax.Array)  # No collection is mutable, so none is returned.
        return y_BxTxH

    return apply


def _cudnn(x: np.ndarray, hidden_size: int) -> tuple[Apply, Any]:
    try:
        from jax.experimental import rnn
    except ImportError as error:
        raise BenchmarkError(f"jax.experimental.rnn (cuDNN) is not available: {error}") from error
    b, t, d = x.shape
    sizes = {"input_size": d, "hidden_size": hidden_size, "num_layers": 1, "bidirectional": True}
    weights = rnn.init_lstm_weight(jax.random.key(0), **sizes)
    zeros = jnp.zeros((2, b, hidden_size))
    lengths = jnp.full((b,), t, jnp.int32)

    def apply(weights, x):
        return rnn.lstm(x, zeros, zeros, weights, lengths, dropout=0.0, **sizes)[0]

    return apply, weights


def _gradients(apply: Apply) -> Callable:
    def loss(variables, x, cotangent):
        return jnp.sum(apply(variables, x).astype(jnp.float32) * cotangent)

    return jax.grad(loss, argnums=(0, 1))
