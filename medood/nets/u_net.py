"""The U-Net of detectors that look at every pixel and its surroundings."""

from __future__ import annotations

from math import gcd
from typing import Any

import torch
from monai.networks.blocks import UnetBasicBlock, UnetUpBlock
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils.parametrize import register_parametrization

HALVINGS = 3
STEP = 2**HALVINGS
"""Height and width of the images are multiples of this, and at least twice as much."""


class UNet(nn.Module):
    """(B, channels_in, H, W) to (B, channels_out, H, W) without a last activation: 3 halvings and skip connections, of MONAI's blocks.

    The network of Kascenas et al. (MIDL 2022) but for the order within a block, which is convolution, normalisation, activation here: two
    3 x 3 convolutions at every size, with standardised weights, group normalisation and Swish; `width` channels at full size and twice as
    many at each smaller one; average pooling down, transposed 2 x 2 convolutions up. Every image is seen by itself, in training too.
    """

    def __init__(self, channels_in: int, channels_out: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(HALVINGS + 1)]
        how: dict[str, Any] = {"norm_name": ("group", {"num_groups": gcd(width, 8)}), "act_name": "swish"}
        down = zip([channels_in, *widths], widths, strict=False)
        self.down = nn.ModuleList(UnetBasicBlock(2, a, b, kernel_size=3, stride=1, **how) for a, b in down)
        up = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(UnetUpBlock(2, a, b, kernel_size=3, stride=1, upsample_kernel_size=2, **how) for a, b in up)
        self.last = nn.Conv2d(width, channels_out, 1)
        for module in list(self.modules()):
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                register_parametrization(module, "weight", _Standardised())

    def forward(self, image: Tensor) -> Tensor:
        features = [self.down[0](image)]
        for block in self.down[1:]:
            features.append(block(avg_pool2d(features[-1], 2)))
        made = features.pop()
        for block in self.up:
            made = block(made, features.pop())
        return self.last(made)


class _Standardised(nn.Module):
    """Kernels (out, in, h, w) of mean 0 and variance 1 / (in h w), whatever the weights (Qiao et al., arXiv 1903.10520)."""

    def forward(self, weight: Tensor) -> Tensor:
        variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt((variance + 1e-8) * weight[0].numel())
