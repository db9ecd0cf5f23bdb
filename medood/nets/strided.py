"""Convolutions that halve and double the image, and the encoders and decoders made of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from monai.networks.blocks import Convolution
from torch import nn

Layer = str | tuple[str, dict[str, Any]] | None
"""A normalisation or activation by its MONAI name, with arguments; None for none."""

LEAKY: Layer = ("LEAKYRELU", {"negative_slope": 0.2, "inplace": True})
RELU: Layer = ("RELU", {"inplace": True})


def halve(channels_in: int, channels_out: int, *, kernel: int = 4, norm: Layer = "BATCH", act: Layer = LEAKY) -> Convolution:
    """Convolution, normalisation, activation: (B, channels_in, H, W) to (B, channels_out, H / 2, W / 2) for even H and W."""
    padding = (kernel - 1) // 2
    return Convolution(2, channels_in, channels_out, 2, kernel, act=act, norm=norm, bias=norm is None, padding=padding)


def double(channels_in: int, channels_out: int, *, norm: Layer = "BATCH", act: Layer = LEAKY) -> Convolution:
    """Transposed 4 x 4 convolution, normalisation, activation: (B, channels_in, H, W) to (B, channels_out, 2 H, 2 W)."""
    return Convolution(
        2, channels_in, channels_out, 2, 4, act=act, norm=norm, bias=norm is None, is_transposed=True, padding=1, output_padding=0
    )


def thin(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """1 x 1 convolution of every `stride`-th pixel: (B, channels_in, H, W) to (B, channels_out, H / stride, W / stride).

    The convolution has no stride of its own: with few channels that lie side by side in memory, torch 2.13 then writes beyond its memory
    in the backward pass, and the process dies.
    """
    return nn.Sequential(nn.MaxPool2d(1, stride), nn.Conv2d(channels_in, channels_out, 1, bias=False))


def encoder(channels: int, widths: Sequence[int], *, norm: Layer = "BATCH", act: Layer = LEAKY) -> nn.Sequential:
    """(B, channels, H, W) to (B, widths[-1], H / 2^n, W / 2^n) for n widths."""
    return nn.Sequential(*(halve(a, b, norm=norm, act=act) for a, b in pairwise((channels, *widths))))


def decoder(widths: Sequence[int], channels: int, *, norm: Layer = "BATCH", act: Layer = LEAKY, last: Layer = "SIGMOID") -> nn.Sequential:
    """The mirror of `encoder(channels, widths)`; the last layer has no normalisation and the activation `last`."""
    back = widths[::-1]
    steps = [double(a, b, norm=norm, act=act) for a, b in pairwise(back)]
    return nn.Sequential(*steps, double(back[-1], channels, norm=None, act=last))
