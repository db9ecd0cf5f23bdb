"""Convolutions that halve and double the image, and the encoders and decoders made of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn.functional import fold

from medood.core.tracing import is_written_down

Layer = str | tuple[str, dict[str, Any]] | None
"""A normalisation or activation by its MONAI name, with arguments; None for none."""

LEAKY: Layer = ("LEAKYRELU", {"negative_slope": 0.2, "inplace": True})
_FEW = 4  # channels of a picture, at most
RELU: Layer = ("RELU", {"inplace": True})


def halve(channels_in: int, channels_out: int, *, kernel: int = 4, norm: Layer = "BATCH", act: Layer = LEAKY) -> Convolution:
    """Convolution, normalisation, activation: (B, channels_in, H, W) to (B, channels_out, H / 2, W / 2) for even H and W."""
    padding = (kernel - 1) // 2
    return Convolution(2, channels_in, channels_out, 2, kernel, act=act, norm=norm, bias=norm is None, padding=padding)


def double(channels_in: int, channels_out: int, *, norm: Layer = "BATCH", act: Layer = LEAKY) -> Convolution:
    """Transposed 4 x 4 convolution, normalisation, activation: (B, channels_in, H, W) to (B, channels_out, 2 H, 2 W)."""
    made = Convolution(
        2, channels_in, channels_out, 2, 4, act=act, norm=norm, bias=norm is None, is_transposed=True, padding=1, output_padding=0
    )
    if channels_out <= _FEW:
        made.conv = ToFewChannels(channels_in, channels_out, bias=norm is None)
    return made


class ToFewChannels(nn.ConvTranspose2d):
    """Transposed 4 x 4 convolution to grey or colour: (B, channels_in, H, W) to (B, channels_out, 2 H, 2 W).

    One matrix product whose results are laid over each other: convolutions of processors are made for many channels, and take four times as
    long.
    """

    def __init__(self, channels_in: int, channels_out: int, *, bias: bool) -> None:
        super().__init__(channels_in, channels_out, 4, 2, 1, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if is_written_down():  # few formats have the other way
            return super().forward(input, output_size)
        places = input.permute(0, 2, 3, 1).flatten(1, 2) @ self.weight.flatten(1)  # B, H * W, outputs * 16
        size = 2 * input.shape[2], 2 * input.shape[3]
        laid = fold(places.to(self.weight.dtype).transpose(1, 2), size, 4, padding=1, stride=2)
        return laid if self.bias is None else laid + self.bias[:, None, None]


def thin(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """1 x 1 convolution of every `stride`-th pixel: (B, channels_in, H, W) to (B, channels_out, H / stride, W / stride).

    The convolution has no stride of its own: with few channels that lie side by side in memory, torch 2.13 then writes beyond its memory
    in the backward pass, and the process dies. Of the poolings that pick pixels the mean is the fastest.
    """
    picked = nn.AvgPool2d(1, stride) if stride > 1 else nn.Identity()
    return nn.Sequential(picked, nn.Conv2d(channels_in, channels_out, 1, bias=False))


def encoder(channels: int, widths: Sequence[int], *, norm: Layer = "BATCH", act: Layer = LEAKY) -> nn.Sequential:
    """(B, channels, H, W) to (B, widths[-1], H / 2^n, W / 2^n) for n widths."""
    return nn.Sequential(*(halve(a, b, norm=norm, act=act) for a, b in pairwise((channels, *widths))))


def decoder(widths: Sequence[int], channels: int, *, norm: Layer = "BATCH", act: Layer = LEAKY, last: Layer = "SIGMOID") -> nn.Sequential:
    """The mirror of `encoder(channels, widths)`; the last layer has no normalisation and the activation `last`."""
    back = widths[::-1]
    steps = [double(a, b, norm=norm, act=act) for a, b in pairwise(back)]
    return nn.Sequential(*steps, double(back[-1], channels, norm=None, act=last))
