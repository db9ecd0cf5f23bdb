"""From a detector's map to a score, as somebody looks at an image: smoothed, away from the rim of the body, where it is hottest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medood.core.recipe import Pooling


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the n images of one entry lie.

    pixel_mm  (height, width) of a pixel;  known  whether that is a measure and not a guess of 1 mm
    numbers   (n,) of the slices along the axis that was cut, ascending
    slice_mm  from one slice to the next, or None where images are no neighbours in space: pictures, single slices
    """

    pixel_mm: tuple[float, float]
    numbers: np.ndarray
    slice_mm: float | None
    known: bool = True

    @property
    def pixel_mm2(self) -> float:
        return self.pixel_mm[0] * self.pixel_mm[1]


def pooled_maps(maps: np.ndarray, body: np.ndarray, grid: Grid, plan: Pooling, residual: np.ndarray | None = None) -> np.ndarray:
    """Maps of one entry after side, median and smoothing; 0 outside the body.

    maps      float32 (n, height, width), higher is more anomalous
    body      bool (n, height, width)
    residual  (n, height, width) image minus reconstruction, for `side`: "higher" keeps the map where the image is the brighter one

    The Gaussian counts inside the body alone, divided by how much of it lies there, so that the rim is as hot as the middle. With
    `through_slices` it runs through neighbouring slices too, at their real distance; slices that were not scored count as outside.
    """
    maps = np.where(body, maps, 0).astype(np.float32)
    if plan.side != "both" and residual is not None:
        maps = np.where(residual > 0 if plan.side == "higher" else residual < 0, maps, np.float32(0))
    if plan.median_mm:
        sizes = [1 + 2 * round(plan.median_mm / (2 * mm)) for mm in grid.pixel_mm]
        maps = np.where(body, ndimage.median_filter(maps, (1, *sizes)), np.float32(0))
    if plan.smooth_mm:
        maps = _smoothed(maps, body, grid, plan)
    return maps


def counted(body: np.ndarray, grid: Grid, plan: Pooling) -> np.ndarray:
    """bool (n, height, width): the part of the body that counts, further than `erode_mm` from its rim within the slice.

    Where nothing of a slice's body would be left, all of it counts: a score of nothing would be no score. The rim of the image is no rim
    of the body.
    """
    if not plan.erode_mm:
        return body
    kept = np.zeros_like(body)
    for number, inside in enumerate(body):
        if inside.all():
            kept[number] = inside
            continue
        deep = ndimage.distance_transform_edt(inside, sampling=grid.pixel_mm) > plan.erode_mm
        kept[number] = deep if deep.any() else inside
    return kept


def slice_scores(maps: np.ndarray, where: np.ndarray, grid: Grid, plan: Pooling, threshold: float | None = None) -> np.ndarray:
    """float64 (n,): the score of each pooled map over the pixels `where`; of a map without any, its lowest value.

    `threshold` is where "largest_component" begins, see `component_threshold`.
    """
    if plan.reduction == "largest_component":
        assert threshold is not None
        return np.array([_largest(map, inside, threshold, grid) for map, inside in zip(maps, where, strict=True)])
    return np.array(
        [_reduced(map[inside], grid, plan) if inside.any() else float(map.min()) for map, inside in zip(maps, where, strict=True)]
    )


def series_top(maps: np.ndarray, where: np.ndarray, grid: Grid, plan: Pooling) -> float:
    """The mean of the hottest `top_mm3` of a whole series' pooled maps."""
    voxel = grid.pixel_mm2 * (grid.slice_mm or 1.0)
    return _hottest(maps[where] if where.any() else maps.ravel(), plan.top_mm3 / voxel)


def _reduced(values: np.ndarray, grid: Grid, plan: Pooling) -> float:
    if plan.reduction == "mean":
        return float(values.mean(dtype=np.float64))
    if plan.reduction == "percentile":
        return float(np.percentile(values, plan.percentile))
    return _hottest(values, plan.top_mm2 / grid.pixel_mm2)


def _hottest(values: np.ndarray, count: float) -> float:
    """The mean of the highest `count` values, at least one, at most all."""
    number = int(np.clip(round(count), 1, len(values)))
    return float(np.partition(values, len(values) - number)[len(values) - number :].mean(dtype=np.float64))


def _largest(map: np.ndarray, where: np.ndarray, threshold: float, grid: Grid) -> float:
    """What the largest connected part above the threshold holds above it, in mm^2 times the map's unit; 0 where there is none."""
    labels, count = ndimage.label(where & (map > threshold), np.ones((3, 3)))
    if not count:
        return 0.0
    largest = 1 + int(np.argmax(ndimage.sum_labels(np.ones_like(map), labels, np.arange(1, count + 1))))
    return float((map[labels == largest] - threshold).sum(dtype=np.float64)) * grid.pixel_mm2


def _smoothed(maps: np.ndarray, body: np.ndarray, grid: Grid, plan: Pooling) -> np.ndarray:
    """Normalised Gaussian inside the body, within the box around it."""
    if not body.any():
        return maps
    box = tuple(slice(int(edge.min()), int(edge.max()) + 1) for edge in np.nonzero(body.any(0)))
    inner, inside = maps[(slice(None), *box)], body[(slice(None), *box)].astype(np.float32)
    sigma = [plan.smooth_mm / mm for mm in grid.pixel_mm]
    out = maps.copy()
    if plan.through_slices and grid.slice_mm is not None and len(maps) > 1:
        place = grid.numbers - grid.numbers.min()
        whole = np.zeros((2, place.max() + 1, *inner.shape[1:]), np.float32)
        whole[0, place], whole[1, place] = inner, inside
        value, weight = (_gaussian(each, (plan.smooth_mm / grid.slice_mm, *sigma))[place] for each in whole)
    else:
        value, weight = (_gaussian(each, (0.0, *sigma)) for each in (inner, inside))
    out[(slice(None), *box)] = np.where(inside > 0, value / np.maximum(weight, 1e-6), 0)
    return out


def _gaussian(stack: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
    return ndimage.gaussian_filter(stack, sigma, mode="constant", truncate=3.0)
