"""The two networks of Patch-GAN that fill in what is hidden."""

from __future__ import annotations

from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from medood.nets.strided import RELU, double, halve


class UNetLite(nn.Module):
    """Five 4 x 4 convolutions of stride 2 down, five up, sigmoid: (B, inputs, H, W) to (B, outputs, H, W) for multiples of 32.

    Channels width, 2, 4, 8, 8 width. `skips` hands each resolution of the way down to the way up; only a network that never sees what it
    is judged on may have them.
    """

    def __init__(self, inputs: int, outputs: int, width: int, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        widths = [width * k for k in (1, 2, 4, 8, 8)]
        self.down = nn.ModuleList(halve(a, b) for a, b in pairwise((inputs, *widths)))
        back = widths[::-1]
        wider = [back[0], *(2 * w if skips else w for w in back[1:])]
        self.up = nn.ModuleList(double(a, b, act=RELU) for a, b in zip(wider, back[1:], strict=False))
        self.up.append(double(wider[-1], outputs, norm=None, act="SIGMOID"))

    def forward(self, image: Tensor) -> Tensor:
        features = [image]
        for layer in self.down:
            features.append(layer(features[-1]))
        x = features.pop()
        for layer in self.up:
            x = layer(x)
            beside = features.pop()
            x = torch.cat([x, beside], 1) if self.skips and features else x
        return x


def crop_reconstructor(inputs: int, outputs: int, width: int) -> nn.Sequential:
    """(B, inputs, H, W) to (B, outputs, H, W) for multiples of 8: three 5 x 5 convolutions of stride 2, then three times a convolution
    and a doubling of the nearest pixel, sigmoid. A pixel of the result sees 85 pixels, enough to fill holes of 32."""
    leaky = ("LEAKYRELU", {"negative_slope": 0.3, "inplace": True})
    down = [halve(a, b, kernel=5, act=leaky) for a, b in ((inputs, width), (width, 2 * width), (2 * width, 4 * width))]
    narrow = max(width // 2, 1)
    up = [
        nn.Sequential(Convolution(2, a, b, 1, kernel, act=RELU, norm=None), nn.Upsample(scale_factor=2))
        for a, b, kernel in ((4 * width, narrow, 5), (narrow, narrow, 5), (narrow, width, 3))
    ]
    return nn.Sequential(*down, *up, Convolution(2, width, outputs, 1, 5, act="SIGMOID", norm=None))
