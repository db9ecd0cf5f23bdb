"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from medood.core.errors import MedoodError
from medood.nets.strided import thin

STEP = 32
"""Height and width are multiples of so many pixels: two halvings, and means of 8 x 8 values."""

GRID_STEP = 4
"""Pixels of the image to a place of the grid."""

_STEM, _POOLED = 16, 8


class WideResNet(nn.Module):
    """(B, channels, H, W) to (B, features): WRN-depth-width without its last layer, with activation before convolution.

    `grid` has the 64 width maps of H / 4 x W / 4 before their means are taken over squares of 8 x 8, so there is one vector of 64 width
    features for an image of 32 x 32 pixels, four for one of 64 x 64, and `features` counts them all. Raises MedoodError for a depth that
    does not give the same number of blocks to each of the three stages.
    """

    def __init__(self, channels: int, height: int, width_pixels: int, *, depth: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise MedoodError(f"A wide residual network has a `depth` of 10, 16, 22, 28 and so on in steps of 6, found {depth}.")
        widths = [_STEM, 16 * width, 32 * width, 64 * width]
        blocks: list[nn.Module] = [nn.Conv2d(channels, _STEM, 3, padding=1, bias=False)]
        for stage, (a, b) in enumerate(pairwise(widths)):
            for block in range((depth - 4) // 6):
                blocks.append(_Block(b if block else a, b, 2 if stage and not block else 1, dropout))
        self.blocks = nn.Sequential(*blocks, nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))
        self.pool = nn.Sequential(nn.AvgPool2d(_POOLED), nn.Flatten())
        self.features = widths[-1] * (height // STEP) * (width_pixels // STEP)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def grid(self, image: Tensor) -> Tensor:
        return self.blocks(image)

    def spread(self, grid: Tensor, weights: Tensor) -> Tensor:
        """(B, 1, h, w) of a grid and of weights (B, features): what each place adds to the weighted sum of the features. The mean over the
        places is that sum: a class-activation map (Zhou et al., CVPR 2016), here with weights of its own for each square of 8 x 8."""
        squares = grid.shape[2] // _POOLED, grid.shape[3] // _POOLED
        everywhere = weights.unflatten(1, (-1, *squares)).repeat_interleave(_POOLED, 2).repeat_interleave(_POOLED, 3)
        return (grid * everywhere).sum(1, keepdim=True) * (squares[0] * squares[1])

    def forward(self, image: Tensor) -> Tensor:
        return self.pool(self.grid(image))


class _Block(nn.Module):
    """Normalise, activate, convolve, twice; around it the identity or, for other sizes, a convolution of the first activations."""

    def __init__(self, channels: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.rest = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        changes = channels != width or stride != 1
        self.shortcut = thin(channels, width, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        activated = self.first(x)
        around = x if self.shortcut is None else self.shortcut(activated)
        return around + self.rest(activated)


def linear_head(features: int, outputs: int) -> nn.Linear:
    """A last layer with weights within 1 / sqrt(features) and biases 0."""
    layer = nn.Linear(features, outputs)
    bound = features**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound)
        layer.bias.zero_()
    return layer
