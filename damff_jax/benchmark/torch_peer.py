"""The same DAMFF in PyTorch: the peer of the parity tests and of `benchmark --compare=torch`.

Written from the description of the architecture, independently of our Flax modules, so that their
agreement is meaningful. It has only the paper's form (no ablations, and no padding: every segment
counts). Letters: B batch, T segments, F frames, M Mel bins, N segments (B × T), H time,
W frequency, C channels. Feature maps are (N, C, H, W), PyTorch's order.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

Kernel = tuple[int, int]


class Block(nn.Sequential):
    """Convolution ('same') → batch normalisation → ReLU → 2 × 2 max-pool."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Kernel):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding="same"),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )


class Bottleneck(nn.Sequential):
    """Dense D → D/r, BN, ReLU, dense D/r → D, BN."""

    def __init__(self, features: int, reduction: int):
        squeezed = max(features // reduction, 1)
        super().__init__(
            nn.Linear(features, squeezed),
            nn.BatchNorm1d(squeezed),
            nn.ReLU(),
            nn.Linear(squeezed, features),
            nn.BatchNorm1d(features),
        )


class DualAttentionFusion(nn.Module):
    """M ⊙ A + (1 − M) ⊙ B with M = sigmoid(channel attention ⊕ spatial attention of A + B)."""

    def __init__(self, channels: int, points: int, reduction: int):
        super().__init__()
        self.channel = Bottleneck(channels, reduction)
        self.spatial = Bottleneck(points, reduction)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        both = a + b
        n, c, h, w = both.shape
        channel = self.channel(both.mean(dim=(2, 3))).view(n, c, 1, 1)
        spatial = self.spatial(both.mean(dim=1).flatten(1)).view(n, 1, h, w)
        weight = torch.sigmoid(channel + spatial)
        return weight * a + (1 - weight) * b


class TorchDAMFF(nn.Module):
    """Log-Mel (B, T, F, M) in dB → valence and arousal (B, T, 2)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        frames: int = 50,
        n_mels: int = 128,
        channels: Sequence[int] = (8, 16, 64),
        kernels_a: Sequence[Kernel] = ((1, 5), (5, 5), (3, 3)),
        kernels_b: Sequence[Kernel] = ((3, 1), (3, 3), (5, 5)),
        reduction: int = 4,
        squeeze_channels: int = 1,
        hidden_size: int = 48,
    ):
        super().__init__()
        in_channels = (1, channels[0], 2 * channels[1])
        self.branches_a, self.branches_b = (
            nn.ModuleList(map(Block, in_channels, channels, kernels))
            for kernels in (kernels_a, kernels_b)
        )
        # Halved three times, but the join along time after stage 1 doubles the time again.
        height, width = frames // 4, n_mels // 8
        self.fusion = DualAttentionFusion(channels[2], height * width, reduction)
        self.squeeze = nn.Conv2d(channels[2], squeeze_channels, 1)
        features = height * width * squeeze_channels
        self.sequence = nn.LSTM(features, hidden_size, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden_size, 2)
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("std", torch.ones(n_mels))

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        b, t, f, m = log_mel.shape
        x = ((log_mel - self.mean) / self.std).reshape(b * t, 1, f, m)
        x = torch.cat([self.branches_a[0](x), self.branches_b[0](x)], dim=2)
        x = torch.cat([self.branches_a[1](x), self.branches_b[1](x)], dim=1)
        x = self.fusion(self.branches_a[2](x), self.branches_b[2](x))
        # Features are ordered by time, then frequency, then squeezed channel.
        x = self.squeeze(x).permute(0, 2, 3, 1).reshape(b, t, -1)
        hidden, _ = self.sequence(x)
        return self.head(hidden)

    @torch.no_grad()
    def load_flax(self, variables: Mapping) -> None:
        """Copies the variables of a `damff_jax.models.damff.DAMFF` in the paper's form."""
        params, stats = variables["params"], variables["batch_stats"]

        for branch, blocks in (("a", self.branches_a), ("b", self.branches_b)):
            for i, block in enumerate(blocks):
                conv, norm, *_ = block.children()
                stage = params["branches"][f"stage{i + 1}"]
                _copy(
                    conv.get_parameter("weight"),
                    np.transpose(stage[f"{branch}_kernel"], (3, 2, 0, 1)),
                )
                _copy(conv.get_parameter("bias"), stage[f"{branch}_bias"])
                name = f"{branch}_norm"
                _copy_norm(norm, stage[name], stats["branches"][f"stage{i + 1}"][name])

        for name in ("channel", "spatial"):
            squeeze, squeeze_norm, _, excite, excite_norm = getattr(self.fusion, name)
            own, own_stats = params["fusion"][name], stats["fusion"][name]
            _copy_dense(squeeze, own["squeeze"])
            _copy_norm(squeeze_norm, own["squeeze_norm"], own_stats["squeeze_norm"])
            _copy_dense(excite, own["excite"])
            _copy_norm(excite_norm, own["excite_norm"], own_stats["excite_norm"])

        _copy(self.squeeze.weight, np.transpose(params["squeeze"]["kernel"])[..., None, None])
        _copy(self.squeeze.get_parameter("bias"), params["squeeze"]["bias"])
        # Both order the gates input, forget, cell, output. PyTorch has two biases, which are
        # always added: ours goes into the first.
        for direction, suffix in enumerate(("", "_reverse")):
            lstm = {name: np.asarray(p)[direction] for name, p in params["sequence"].items()}
            _copy(getattr(self.sequence, f"weight_ih_l0{suffix}"), lstm["input_kernel"].T)
            _copy(getattr(self.sequence, f"weight_hh_l0{suffix}"), lstm["recurrent_kernel"].T)
            _copy(getattr(self.sequence, f"bias_ih_l0{suffix}"), lstm["bias"])
            getattr(self.sequence, f"bias_hh_l0{suffix}").zero_()
        _copy_dense(self.head, params["head"])

        _copy(self.mean, variables["input_stats"]["mean"])
        _copy(self.std, variables["input_stats"]["std"])


def _copy(target: torch.Tensor, source: ArrayLike) -> None:
    values = torch.from_numpy(np.array(source, np.float32))
    if target.shape != values.shape:
        raise ValueError(f"cannot load {tuple(values.shape)} into {tuple(target.shape)}")
    target.copy_(values)


def _copy_dense(dense: nn.Linear, params: Mapping) -> None:
    _copy(dense.weight, np.transpose(params["kernel"]))
    _copy(dense.bias, params["bias"])


def _copy_norm(norm: nn.Module, params: Mapping, stats: Mapping) -> None:
    _copy(norm.get_parameter("weight"), params["scale"])
    _copy(norm.get_parameter("bias"), params["bias"])
    _copy(norm.get_buffer("running_mean"), stats["mean"])
    _copy(norm.get_buffer("running_var"), stats["var"])
