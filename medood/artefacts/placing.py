"""From pixel values to the images that a detector sees, and its maps back onto the pixels, as operations of tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from medood.artefacts.steps import as_tensors
from medood.recipe.recipe import Preparation
from medood.transforms.fit import Placement, resize_weights


class Resize(nn.Module):
    """Images of one shape to another, as `Placement` resizes them."""

    down: Tensor
    across: Tensor

    def __init__(self, shape: tuple[int, int], size: tuple[int, int]) -> None:
        super().__init__()
        self.idle = shape == size
        down, across = (torch.empty(0), torch.empty(0)) if self.idle else resize_weights(shape, size)
        self.register_buffer("down", down)
        self.register_buffer("across", across)

    def forward(self, images: Tensor) -> Tensor:
        return images if self.idle else self.down @ images @ self.across


class FromPixels(nn.Module):
    """Pixel values (1, C, rows, columns) to images (1, channels, height, width) in the range that the transforms promise."""

    def __init__(self, plan: Preparation, placement: Placement) -> None:
        super().__init__()
        self.steps = as_tensors(plan.steps)  # type: ignore[arg-type]  # resolved: every step with its parameters
        self.placement, self.range = placement, plan.range
        self.fill = plan.range[0] if plan.background is None else plan.background
        self.resize = Resize(placement.region, placement.size)

    def forward(self, pixels: Tensor) -> Tensor:
        image = pixels
        for step in self.steps:
            image = step(image)
        return self.resize(centred(image, self.placement.region, self.fill)).clamp(*self.range)


class ToPixels(nn.Module):
    """Maps (1, 1, height, width) onto the pixels (1, 1, rows, columns), with `outside` where nothing was examined or is to be shown."""

    seen: Tensor

    def __init__(self, placement: Placement, outside: float) -> None:
        super().__init__()
        self.placement, self.outside = placement, outside
        self.resize = Resize(placement.size, placement.region)
        self.register_buffer("seen", centred(torch.ones(1, 1, *placement.region), placement.native, 0.0) > 0)

    def forward(self, heat: Tensor, shown: Tensor | None) -> Tensor:
        placed = self._back(heat)
        if shown is not None:
            placed = torch.where(self._back(shown.to(heat)) < 0.5, self.outside, placed)
        return torch.where(self.seen, placed, self.outside)

    def _back(self, images: Tensor) -> Tensor:
        return centred(self.resize(images), self.placement.native, 0.0)


def centred(images: Tensor, shape: tuple[int, int], fill: float) -> Tensor:
    """Images in the middle of a frame of `shape`, cut or filled around, as `Placement` places them."""
    for axis, wanted in ((2, shape[0]), (3, shape[1])):
        found = images.shape[axis]
        if found > wanted:
            images = images.narrow(axis, (found - wanted) // 2, wanted)
        elif found < wanted:
            before = (wanted - found) // 2
            ends = (before, wanted - found - before)
            images = pad(images, (0, 0, *ends) if axis == 2 else ends, value=fill)
    return images
