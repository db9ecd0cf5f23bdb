"""Statistics of grey values."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d, interpolate

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.core.types import PositiveInt
from medood.features.interface import Extractor, fitting_size


class GreyStatistics(Extractor):
    """Grey values of the cells of a grid: mean, deviation, lowest, highest and roughness; needs no weights.

    The least that a network has to beat. Every channel of the image has its five statistics; roughness is the mean absolute difference of
    neighbouring pixels.

    size    (height, width) to which images are resized; null: 128 pixels along the shorter side
    layers  cells of the grid, along each side
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        size: tuple[PositiveInt, PositiveInt] | None = None,
        layers: tuple[PositiveInt, ...] = (16,),
    ) -> None:
        size = fitting_size(spec, size, side=128)
        super().__init__(spec, layers, size)
        if min(size) < max(layers):
            raise MedoodError(
                f"features: grey_statistics looks at {max(layers)} x {max(layers)} cells, more than images of {size[0]} x {size[1]} pixels "
                f"have: set `layers` to less, or `size` to at least {max(layers)} x {max(layers)}."
            )
        self.settle({})

    def _extract(self, unit: Tensor) -> list[Tensor]:
        down, across = (torch.diff(unit, dim=axis, append=unit.narrow(axis, -1, 1)).abs() for axis in (2, 3))
        return [_statistics(unit, (down + across) / 2, cells) for cells in self.layers]


def _statistics(unit: Tensor, differences: Tensor, cells: int) -> Tensor:
    mean = adaptive_avg_pool2d(unit, cells)
    extremes = -adaptive_max_pool2d(-unit, cells), adaptive_max_pool2d(unit, cells)
    return torch.cat([mean, _deviation(unit, mean, cells), *extremes, adaptive_avg_pool2d(differences, cells)], 1)


def _deviation(unit: Tensor, mean: Tensor, cells: int) -> Tensor:
    """Of each cell, from what is left when its mean is taken away: squares of bright values would drown it. Where cells are not of one
    size, and overlap, the mean of the image must do."""
    height, width = unit.shape[2:]
    whole = height % cells == 0 and width % cells == 0
    usual = interpolate(mean, scale_factor=(height // cells, width // cells)) if whole else unit.mean((2, 3), keepdim=True)
    apart = unit - usual
    return (adaptive_avg_pool2d(apart.square(), cells) - adaptive_avg_pool2d(apart, cells).square()).clamp(min=0).sqrt()
