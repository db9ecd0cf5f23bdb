"""The outline of the one thing that an image shows."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, perimeter, regionprops
from torch import Tensor

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.core.types import PositiveFloat, PositiveInt
from medood.features.interface import Extractor, fitting_size

_LEAST = 16  # pixels on each side
_SHOWN = 0.45  # of the sides: the ellipse around the centre in which is looked, away from vignettes, rulers and corners
_CENTRAL = 0.3  # of the sides: how far from the centre the thing usually lies at most
_SMALLEST = 0.001  # of the image


class Outlines(Extractor):
    """Size and shape of the dark (or bright) thing in the middle of an image, such as a mole in a dermoscopy picture; needs no weights.

    Two of the letters of the ABCD rule of dermatoscopy (Nachbar et al., J. American Academy of Dermatology 1994), asymmetry and border, and
    the diameter. The thing is what Otsu's threshold cuts off in a smoothed grey image, largest and nearest to the centre. A layer is a
    single place with six numbers: diameter (square root of the area, of the side), eccentricity, solidity, perimeter by the diameter, and
    the share of it that does not meet its mirror image across its long and its short axis; all 0 where there is no such thing.

    size    (height, width) to which images are resized; null: 128 pixels along the shorter side
    layers  deviations of the Gaussian that smooths, in pixels: hairs go with a large one, and the border's fringe
    side    the thing is "darker" or "brighter" than what is around it
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        size: tuple[PositiveInt, PositiveInt] | None = None,
        layers: tuple[PositiveFloat, ...] = (1.0,),
        side: Literal["darker", "brighter"] = "darker",
    ) -> None:
        size = fitting_size(spec, size, side=128)
        super().__init__(spec, layers, size)
        if min(size) < _LEAST:
            raise MedoodError(
                f"features: outlines needs at least {_LEAST} pixels along each side, found {size[0]} x {size[1]}: set `size` to more."
            )
        self.side = side
        down, across = np.linspace(-0.5, 0.5, size[0])[:, None], np.linspace(-0.5, 0.5, size[1])
        self.shown = np.hypot(down, across) <= _SHOWN
        self.settle({"side": side})

    def _extract(self, unit: Tensor) -> list[Tensor]:
        grey = unit.mean(1).cpu().double().numpy() * (1 if self.side == "brighter" else -1)
        layers = (np.stack([outline(self._thing(each, sigma)) for each in grey]) for sigma in self.layers)
        return [torch.from_numpy(numbers).to(unit)[:, :, None, None] for numbers in layers]

    def _thing(self, grey: np.ndarray, sigma: float) -> np.ndarray:
        """bool (h, w)"""
        smooth = ndimage.gaussian_filter(grey, sigma)
        bright = (smooth > threshold_otsu(smooth[self.shown])) & self.shown if np.ptp(smooth[self.shown]) > 1e-6 else self.shown & False
        pieces = label(bright)
        regions = [region for region in regionprops(pieces) if region.area >= _SMALLEST * grey.size]
        if not regions:
            return bright & False
        chosen = max(regions, key=lambda region: region.area * self._central(region.centroid))
        return ndimage.binary_fill_holes(pieces == chosen.label)

    def _central(self, place: tuple[float, float]) -> float:
        """1 in the middle, falling to 0."""
        away = (np.array(place) + 0.5) / self.size - 0.5
        return float(np.exp(-(away @ away) / _CENTRAL**2))


def outline(thing: np.ndarray) -> np.ndarray:
    """The six numbers of a thing, bool (h, w)."""
    if not thing.any():
        return np.zeros(6)
    places = np.argwhere(thing)
    middle, area = places.mean(0), len(places)
    spreads, axes = np.linalg.eigh(np.cov(places.T, bias=True) + np.eye(2) / 12)  # a pixel has a spread of its own
    (region,) = regionprops(thing.astype(np.uint8))
    turned = _turned(thing, middle, axes)
    unlike = [np.logical_xor(turned, np.flip(turned, axis)).sum() / (2 * max(turned.sum(), 1)) for axis in (0, 1)]
    eccentricity = (1 - spreads[0] / spreads[1]) ** 0.5
    return np.array([(area / thing.size) ** 0.5, eccentricity, region.solidity, perimeter(thing) / area**0.5, *unlike])


def _turned(thing: np.ndarray, middle: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """The thing with its middle in the middle of a square and its short axis upright."""
    side = 2 * int(np.hypot(*thing.shape)) + 1
    offset = middle - axes @ np.full(2, side // 2)
    return ndimage.affine_transform(thing.astype(np.float32), axes, offset, (side, side), order=1) > 0.5
