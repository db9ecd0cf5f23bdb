"""A Gaussian that counts inside the body alone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medood.core.geometry import Raster


class Smoothing:
    """A Gaussian inside the body of one entry, divided by how much of it lies there, so that the rim is as warm as the middle.

    The shares are computed once, for as many maps of the entry as there are.

    body     bool (n, height, width)
    numbers  (n,) of the slices along the axis that was cut, ascending; None: no smoothing through the slices. With them it runs through
             neighbouring slices too, at their real distance, if they are neighbours in space; slices that are not there count as outside
    mm       standard deviation
    """

    def __init__(self, body: np.ndarray, numbers: np.ndarray | None, raster: Raster, mm: float) -> None:
        self.empty = not body.any()
        if self.empty:
            return
        through = numbers is not None and raster.slice_mm is not None and len(body) > 1
        self._place = numbers - numbers.min() if numbers is not None and through else np.arange(len(body))
        self._sigma = (mm / raster.slice_mm if through and raster.slice_mm else 0.0, *(mm / pixel for pixel in raster.pixel_mm))
        self._box = (slice(None), *(slice(int(edge.min()), int(edge.max()) + 1) for edge in np.nonzero(body.any(0))))
        self._inside = body[self._box]
        self._share = np.maximum(self._gaussian(self._inside.astype(np.float32)), 1e-6)

    def __call__(self, maps: np.ndarray) -> np.ndarray:
        """Of maps float32 (n, height, width) that are 0 outside the body; so are the smoothed ones."""
        out = maps.copy()
        if not self.empty:
            out[self._box] = np.where(self._inside, self._gaussian(maps[self._box]) / self._share, 0)
        return out

    def _gaussian(self, slices: np.ndarray) -> np.ndarray:
        """(n, h, w), with 0 where no slice is."""
        count = int(self._place[-1]) + 1
        if count == len(slices):
            return ndimage.gaussian_filter(slices, self._sigma, mode="constant", truncate=3.0)
        whole = np.zeros((count, *slices.shape[1:]), np.float32)
        whole[self._place] = slices
        return ndimage.gaussian_filter(whole, self._sigma, mode="constant", truncate=3.0)[self._place]
