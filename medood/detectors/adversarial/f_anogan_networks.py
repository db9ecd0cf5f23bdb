"""The residual networks of f-AnoGAN: pre-activation blocks that double or halve the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from medood.nets.resampling import DoublingConvolution, HalvingConvolution

Norm = Callable[[int], nn.Module]


class Doubling(nn.Module):
    """(B, inputs, H, W) to (B, outputs, 2 H, 2 W): norm, ReLU, doubling, convolution, norm, ReLU, convolution, and a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            he(DoublingConvolution(inputs, outputs)),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            he(nn.Conv2d(outputs, outputs, 3, padding=1)),
        )
        self.shortcut = nn.Sequential(glorot(nn.Conv2d(inputs, outputs, 1)), nn.Upsample(scale_factor=2))  # same as doubled first

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.way(x)


class Halving(nn.Module):
    """(B, inputs, H, W) to (B, outputs, H / 2, W / 2): norm, ReLU, convolution, norm, ReLU, convolution, mean of 2 x 2, and a
    shortcut."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.way = nn.Sequential(
            norm(inputs),
            nn.ReLU(),
            he(nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)),
            norm(inputs),
            nn.ReLU(),
            he(HalvingConvolution(inputs, outputs)),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), glorot(nn.Conv2d(inputs, outputs, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.way(x)


def generator(latent: int, widths: Sequence[int], channels: int) -> nn.Sequential:
    """(B, latent) to (B, channels, 4 * 2^n, 4 * 2^n) in -1..1, for n + 1 widths from coarse to fine."""
    return nn.Sequential(
        glorot(nn.Linear(latent, widths[0] * 16)),
        nn.Unflatten(1, (widths[0], 4, 4)),
        *(Doubling(a, b) for a, b in pairwise(widths)),
        nn.BatchNorm2d(widths[-1]),
        nn.ReLU(),
        he(nn.Conv2d(widths[-1], channels, 3, padding=1)),
        nn.Tanh(),
    )


def feature_network(channels: int, widths: Sequence[int], norm: Norm) -> nn.Sequential:
    """(B, channels, 4 * 2^n, 4 * 2^n) to (B, widths[-1] * 16), for n + 1 widths from fine to coarse."""
    first = glorot(nn.Conv2d(channels, widths[0], 3, padding=1))
    return nn.Sequential(first, *(Halving(a, b, norm) for a, b in pairwise(widths)), nn.Flatten())


def he(layer: nn.Conv2d) -> nn.Module:
    """With the first weights of He et al., ICCV 2015, and bias 0."""
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    return _unbiased(layer)


def glorot(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """With the first weights of Glorot and Bengio, AISTATS 2010, and bias 0."""
    nn.init.xavier_uniform_(layer.weight)
    return _unbiased(layer)


def _unbiased(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
