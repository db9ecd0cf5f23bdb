"""Noise in coarse blobs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def coarse_noise(image: Tensor, cells: int, deviation: float, random: torch.Generator | None = None) -> Tensor:
    """Gaussian noise like the image (B, C, H, W) whose blobs are as large as `cells` of them across its shorter side.

    Independent values of that deviation on a coarse grid, bilinearly upsampled (which leaves about 2/3 of the deviation) and shifted at
    random around the edges, so that the grid lies elsewhere each time. Drawn on the CPU, hence the same on every device.
    """
    count, channels, height, width = image.shape
    shorter = min(height, width)
    grid = [max(1, round(cells * side / shorter)) for side in (height, width)]
    noise = deviation * torch.randn((count, channels, *grid), generator=random)
    down, across = (int(torch.randint(side, (1,), generator=random)) for side in (height, width))
    grown = interpolate(noise.to(image), (height, width), mode="bilinear", align_corners=False)
    return grown.roll((down, across), (2, 3))
