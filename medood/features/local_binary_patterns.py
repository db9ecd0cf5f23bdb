"""Local binary patterns."""

from __future__ import annotations

import numpy as np
import torch
from skimage.feature import local_binary_pattern
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.core.types import PositiveInt
from medood.features.interface import Extractor, fitting_size

_LEVELS = 255  # grey values are rounded to these, so that noise of rounding makes no pattern


class LocalBinaryPatterns(Extractor):
    """Local binary patterns: how often each fine texture occurs, in cells of a grid; needs no weights.

    Ojala et al., IEEE TPAMI 2002, of scikit-image: 8 neighbours, uniform and invariant to rotation, 10 patterns. Colours count by their
    mean. A layer has the shares of the 10 patterns as channels.

    size    (height, width) to which images are resized; null: 128 pixels along the shorter side
    layers  radii in pixels
    cells   of the grid, along each side
    """

    occludable = False  # every place is compared with its own contrast

    def __init__(
        self,
        spec: ImageSpec,
        *,
        size: tuple[PositiveInt, PositiveInt] | None = None,
        layers: tuple[PositiveInt, ...] = (1, 2, 4),
        cells: PositiveInt = 8,
    ) -> None:
        size = fitting_size(spec, size, side=128)
        super().__init__(spec, layers, size)
        if min(size) < cells:
            raise MedoodError(
                f"features: local_binary_patterns counts in {cells} x {cells} cells, more than {size[0]} x {size[1]} pixels have: "
                f"set `cells` to less, or `size` to at least {cells} x {cells}."
            )
        self.cells = cells
        self.settle({"cells": cells})

    def _extract(self, unit: Tensor) -> list[Tensor]:
        grey = (unit.mean(1) * _LEVELS).round().clamp(0, _LEVELS).byte().cpu().numpy()
        return [self._shares(grey, radius).to(unit.device) for radius in self.layers]

    def _shares(self, grey: np.ndarray, radius: int) -> Tensor:
        """(B, 10, cells, cells)"""
        patterns = torch.from_numpy(np.stack([local_binary_pattern(each, 8, radius, "uniform") for each in grey])).long()
        return adaptive_avg_pool2d(one_hot(patterns, 10).permute(0, 3, 1, 2).float(), self.cells)
