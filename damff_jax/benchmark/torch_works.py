"""PyTorch's side of the comparison. Importing this file imports torch.

On a CPU: channels_last and a thread per core. On a GPU: `torch.compile`, cuDNN's LSTM, and
TensorFloat32 in matrix products, like JAX's default. bfloat16 means automatic mixed precision.
"""

import contextlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from damff_jax.benchmark.recipe import OPTIM, Sizes
from damff_jax.benchmark.settings import BenchmarkError
from damff_jax.benchmark.timing import Work
from damff_jax.benchmark.torch_peer import TorchDAMFF
from damff_jax.system.machine import n_cores


def set_up(on_gpu: bool) -> torch.device:
    """Configures PyTorch for speed; returns the device to compute on.

    Raises:
      BenchmarkError: JAX is on a GPU that this build of PyTorch cannot use.
    """
    if on_gpu and not torch.cuda.is_available():
        raise BenchmarkError("JAX runs on a GPU, but this build of PyTorch cannot use one")
    torch.set_num_threads(n_cores())
    torch.set_float32_matmul_precision("high" if on_gpu else "highest")
    return torch.device("cuda" if on_gpu else "cpu")


def train_step(sizes: Sizes, batch: Mapping[str, np.ndarray], *, dtype: str, on_gpu: bool) -> Work:
    """A training step: forward, 1 − pooled CCC, backward, clipping, AdamW."""
    device = set_up(on_gpu)
    model = _model(sizes, device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=OPTIM.learning_rate,
        betas=(OPTIM.b1, OPTIM.b2),
        weight_decay=OPTIM.weight_decay,
        fused=on_gpu,
    )
    log_mel, labels = (_in_place(batch[name], device) for name in ("log_mel", "labels"))
    forward = torch.compile(model) if on_gpu else model

    def call() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with _precision(dtype, device):
            prediction = forward(log_mel.float())
        loss = 1 - ccc_pooled(prediction.float(), labels).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), OPTIM.clip_norm)
        optimizer.step()
        return loss

    return _work(call, on_gpu)


def eval_step(sizes: Sizes, batch: Mapping[str, np.ndarray], *, dtype: str, on_gpu: bool) -> Work:
    """A forward pass with running statistics."""
    device = set_up(on_gpu)
    model = _model(sizes, device).eval()
    log_mel = _in_place(batch["log_mel"], device)
    forward = torch.compile(model) if on_gpu else model

    @torch.inference_mode()
    def call() -> torch.Tensor:
        with _precision(dtype, device):
            return forward(log_mel.float())

    return _work(call, on_gpu)


def lstm(
    x_BxTxD: np.ndarray, cotangent_BxTxH: np.ndarray, hidden_size: int, *, dtype: str, on_gpu: bool
) -> Work:
    """Forward and backward of a bidirectional LSTM: gradients of parameters and input."""
    device = set_up(on_gpu)
    layer = nn.LSTM(x_BxTxD.shape[-1], hidden_size, batch_first=True, bidirectional=True).to(device)
    x = torch.from_numpy(x_BxTxD).to(device).requires_grad_()
    cotangent = torch.from_numpy(cotangent_BxTxH).to(device)

    def call() -> tuple[torch.Tensor, ...]:
        with _precision(dtype, device):
            hidden, _ = layer(x)
        return torch.autograd.grad((hidden * cotangent).sum(), [x, *layer.parameters()])

    return _work(call, on_gpu)


def ccc_pooled(prediction_BxTxV: torch.Tensor, truth_BxTxV: torch.Tensor) -> torch.Tensor:
    """Lin's concordance over all points: (V,)."""
    x, y = (a.flatten(0, 1) for a in (prediction_BxTxV, truth_BxTxV))
    dx, dy = x - x.mean(0), y - y.mean(0)
    apart = (x.mean(0) - y.mean(0)) ** 2
    return 2 * (dx * dy).mean(0) / ((dx**2).mean(0) + (dy**2).mean(0) + apart)


def _model(sizes: Sizes, device: torch.device) -> TorchDAMFF:
    torch.manual_seed(0)
    model = TorchDAMFF(frames=sizes.frames, n_mels=sizes.n_mels, **sizes.model)
    model.mean.fill_(-30.0)
    model.std.fill_(15.0)
    # PyTorch's stubs lack the keyword.
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _in_place(array_DxSxBx: np.ndarray, device: torch.device) -> torch.Tensor:
    """The batch of one device and step, without their axes."""
    return torch.from_numpy(array_DxSxBx[0, 0]).to(device)


def _precision(dtype: str, device: torch.device) -> contextlib.AbstractContextManager:
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, dtype))


def _work(call: Callable, on_gpu: bool) -> Work:
    if not on_gpu:
        return Work(call)
    return Work(call, lambda _: torch.cuda.synchronize(), pipelined=True)
