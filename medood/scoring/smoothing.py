"""Gaussians that count inside the body alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medood.core.geometry import Raster

CUT_OFF = 3.0
"""Standard deviations from its middle at which a Gaussian ends."""


class Smoothing:
    """A Gaussian inside the body of one entry, divided by how much of it lies there, so that the rim is as warm as the middle.

    Of several Gaussians, the mean. The shares are computed once, for as many maps of the entry as there are.

    body     bool (n, height, width)
    numbers  (n,) of the slices along the axis that was cut, ascending; None: no smoothing through the slices. With them it runs through
             neighbouring slices too, at their real distance, if they are neighbours in space; slices that are not there count as outside
    mm       standard deviations
    """

    def __init__(self, body: np.ndarray, numbers: np.ndarray | None, raster: Raster, mm: Sequence[float]) -> None:
        self.empty = not body.any()
        if self.empty:
            return
        through = raster.slice_mm if numbers is not None and len(body) > 1 else None
        self._place = np.arange(len(body)) if numbers is None or through is None else numbers - numbers.min()
        self._box = (slice(None), *(slice(int(edge.min()), int(edge.max()) + 1) for edge in np.nonzero(body.any(0))))
        self._inside = body[self._box]
        self._sigmas = [(each / through if through else 0.0, *(each / pixel for pixel in raster.pixel_mm)) for each in mm]
        whole = self._inside.astype(np.float32)
        self._weights = [1 / (len(mm) * np.maximum(self._gaussian(whole, sigma), 1e-6)) for sigma in self._sigmas]

    def __call__(self, maps: np.ndarray) -> np.ndarray:
        """Of maps float32 (n, height, width) that are 0 outside the body; so are the smoothed ones."""
        out = maps.copy()
        if not self.empty:
            inner = maps[self._box]
            smooth = sum(weight * self._gaussian(inner, sigma) for weight, sigma in zip(self._weights, self._sigmas, strict=True))
            out[self._box] = np.where(self._inside, smooth, 0)
        return out

    def _gaussian(self, slices: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
        """(n, h, w), with 0 where no slice is."""
        count = int(self._place[-1]) + 1
        if count == len(slices):
            return ndimage.gaussian_filter(slices, sigma, mode="constant", truncate=CUT_OFF)
        whole = np.zeros((count, *slices.shape[1:]), np.float32)
        whole[self._place] = slices
        return ndimage.gaussian_filter(whole, sigma, mode="constant", truncate=CUT_OFF)[self._place]
