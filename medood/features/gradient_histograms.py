"""Histograms of oriented gradients."""

from __future__ import annotations

import numpy as np
import torch
from skimage.feature import hog
from torch import Tensor

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.core.types import PositiveInt
from medood.features.interface import Extractor, fitting_size


class GradientHistograms(Extractor):
    """Histograms of oriented gradients: which way edges run, in cells of a grid; needs no weights.

    Dalal and Triggs, CVPR 2005, of scikit-image. Colours count by the channel with the steepest gradient. Blocks of 2 x 2 cells are
    normalised together, so that contrast does not matter; a layer has 4 x `orientations` channels on a grid of blocks.

    size          (height, width) to which images are resized; null: 128 pixels along the shorter side
    layers        sides of the cells in pixels
    orientations  bins of a half turn
    """

    occludable = False  # every place is compared with its own contrast

    def __init__(
        self,
        spec: ImageSpec,
        *,
        size: tuple[PositiveInt, PositiveInt] | None = None,
        layers: tuple[PositiveInt, ...] = (8, 16),
        orientations: PositiveInt = 9,
    ) -> None:
        size = fitting_size(spec, size, side=128)
        super().__init__(spec, layers, size)
        if min(size) < 2 * max(layers):
            raise MedoodError(
                f"features: gradient_histograms needs images of at least two cells of {max(layers)} pixels along each side, found "
                f"{size[0]} x {size[1]}: set `layers` to smaller cells, or `size` to at least {2 * max(layers)} x {2 * max(layers)}."
            )
        self.orientations = orientations
        self.settle({"orientations": orientations})

    def _extract(self, unit: Tensor) -> list[Tensor]:
        pictures = unit.permute(0, 2, 3, 1).cpu().double().numpy()
        return [torch.from_numpy(np.stack([self._blocks(each, side) for each in pictures])).to(unit.device) for side in self.layers]

    def _blocks(self, picture: np.ndarray, side: int) -> np.ndarray:
        """(4 * orientations, h, w)"""
        blocks = hog(picture, self.orientations, (side, side), (2, 2), "L2-Hys", feature_vector=False, channel_axis=-1)
        return np.moveaxis(blocks.reshape(*blocks.shape[:2], -1), -1, 0)
