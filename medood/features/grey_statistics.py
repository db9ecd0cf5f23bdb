"""Statistics of grey values."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

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
    deviation = _variance(unit if unit.device.type == "mps" else unit.double(), cells).sqrt().to(unit)
    extremes = -adaptive_max_pool2d(-unit, cells), adaptive_max_pool2d(unit, cells)
    return torch.cat([mean, deviation, *extremes, adaptive_avg_pool2d(differences, cells)], 1)


def _variance(unit: Tensor, cells: int) -> Tensor:
    """A small difference of two large numbers where a cell is bright and smooth: in double precision, which Apple's GPUs have not."""
    return (adaptive_avg_pool2d(unit.square(), cells) - adaptive_avg_pool2d(unit, cells).square()).clamp(min=0)
