"""From a detector's map to a score, as somebody looks at an image: smoothed, away from the rim of the body, where it is hottest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medood.core.geometry import Raster
from medood.recipe.recipe import Pooling, Recipe
from medood.scoring.inference import Scored


class Pool:
    """A recipe's pooling at work.

    threshold  where "largest_component" begins: `plan.percentile` of the held-out normal images' pooled maps; None until that is known
    """

    def __init__(self, plan: Pooling, background: float | None, high: float, threshold: float | None = None) -> None:
        self.plan, self.background, self.high, self.threshold = plan, background, high, threshold

    @classmethod
    def of_recipe(cls, recipe: Recipe, threshold: float | None = None) -> Pool:
        plan = recipe.transforms
        return cls(recipe.pooling, plan.background, plan.range[1], threshold)

    @property
    def wants_residual(self) -> bool:
        return self.plan.side != "both"

    @property
    def idle(self) -> bool:
        """Whether maps and scores stay as the detector made them."""
        plan = self.plan
        return plan.reduction == "detector" and not (plan.smooth_mm or plan.median_mm) and plan.side == "both"

    def maps(self, scored: Scored, images: np.ndarray, numbers: np.ndarray, raster: Raster) -> np.ndarray:
        """The pooled maps (n, height, width) of one entry, from its scores and its images (n, channels, height, width)."""
        assert scored.map is not None
        return pooled_maps(scored.map, self.body(images), numbers, raster, self.plan, scored.residual)

    def scores(self, maps: np.ndarray, images: np.ndarray, raster: Raster) -> np.ndarray:
        """(n,) of pooled maps."""
        return slice_scores(maps, counted(self.body(images), raster, self.plan), raster, self.plan, self.threshold)

    def body(self, images: np.ndarray) -> np.ndarray:
        """bool (n, height, width): inside the body, everywhere when the images have no outside."""
        shape = len(images), *images.shape[2:]
        return np.ones(shape, dtype=bool) if self.background is None else (images != self.background).any(1)

    def __call__(self, scored: Scored, images: np.ndarray, numbers: np.ndarray, raster: Raster) -> Scored:
        """Scores and maps of one entry as the recipe wants them; what the detector itself scored stays as the part `detector`."""
        if self.idle or scored.map is None:
            return scored
        maps = self.maps(scored, images, numbers, raster)
        if self.plan.reduction == "detector":
            return replace(scored, map=maps)
        image, parts = self.scores(maps, images, raster), {"detector": scored.image, **scored.parts}
        return replace(scored, image=image, map=maps, parts=parts, plain=self.plain(images, numbers, raster))

    def series(self, scored: Scored, images: np.ndarray, raster: Raster, top_slices: int) -> float:
        """The score of a series from the pooled scores and maps of its slices."""
        if self.plan.series == "top_mm3" and scored.map is not None:
            return series_top(scored.map, counted(self.body(images), raster, self.plan), raster, self.plan)
        return float(np.sort(scored.image)[-top_slices:].mean())

    def plain(self, images: np.ndarray, numbers: np.ndarray, raster: Raster) -> dict[str, np.ndarray]:
        """(n,) each: brightness and darkness taken for a map and pooled in the same way; empty where maps make no scores."""
        if self.idle or self.plan.reduction in ("detector", "largest_component"):
            return {}
        plan, grey, body = self.plan.model_copy(update={"side": "both"}), images.mean(1), self.body(images)
        where = counted(body, raster, plan)
        found = {}
        for name, values in (("plain_bright", grey), ("plain_dark", self.high - grey)):
            found[name] = slice_scores(pooled_maps(values, body, numbers, raster, plan), where, raster, plan)
        return found


def pooled_maps(
    maps: np.ndarray, body: np.ndarray, numbers: np.ndarray, raster: Raster, plan: Pooling, residual: np.ndarray | None = None
) -> np.ndarray:
    """Maps of one entry after side, median and smoothing; 0 outside the body.

    maps      float32 (n, height, width), higher is more anomalous
    body      bool (n, height, width)
    numbers   (n,) of the slices along the axis that was cut, ascending
    residual  (n, height, width) image minus reconstruction, for `side`: "higher" keeps the map where the image is the brighter one

    The Gaussian counts inside the body alone, divided by how much of it lies there, so that the rim is as hot as the middle. With
    `through_slices` it runs through neighbouring slices too, at their real distance; slices that were not scored count as outside.
    """
    maps = np.where(body, maps, 0).astype(np.float32)
    if plan.side != "both" and residual is not None:
        maps = np.where(residual > 0 if plan.side == "higher" else residual < 0, maps, np.float32(0))
    if plan.median_mm:
        sizes = [1 + 2 * round(plan.median_mm / (2 * mm)) for mm in raster.pixel_mm]
        maps = np.where(body, ndimage.median_filter(maps, (1, *sizes)), np.float32(0))
    if plan.smooth_mm:
        maps = _smoothed(maps, body, numbers, raster, plan)
    return maps


def counted(body: np.ndarray, raster: Raster, plan: Pooling) -> np.ndarray:
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
        deep = ndimage.distance_transform_edt(inside, sampling=raster.pixel_mm) > plan.erode_mm
        kept[number] = deep if deep.any() else inside
    return kept


def slice_scores(maps: np.ndarray, where: np.ndarray, raster: Raster, plan: Pooling, threshold: float | None = None) -> np.ndarray:
    """float64 (n,): the score of each pooled map over the pixels `where`; of a map without any, its lowest value.

    `threshold` is where "largest_component" begins.
    """
    if plan.reduction == "largest_component":
        assert threshold is not None
        return np.array([_largest(map, inside, threshold, raster) for map, inside in zip(maps, where, strict=True)])
    return np.array(
        [_reduced(map[inside], raster, plan) if inside.any() else float(map.min()) for map, inside in zip(maps, where, strict=True)]
    )


def series_top(maps: np.ndarray, where: np.ndarray, raster: Raster, plan: Pooling) -> float:
    """The mean of the hottest `top_mm3` of a whole series' pooled maps."""
    voxel = raster.pixel_mm2 * (raster.slice_mm or 1.0)
    return _hottest(maps[where] if where.any() else maps.ravel(), plan.top_mm3 / voxel)


def _reduced(values: np.ndarray, raster: Raster, plan: Pooling) -> float:
    if plan.reduction == "mean":
        return float(values.mean(dtype=np.float64))
    if plan.reduction == "percentile":
        return float(np.percentile(values, plan.percentile))
    return _hottest(values, plan.top_mm2 / raster.pixel_mm2)


def _hottest(values: np.ndarray, count: float) -> float:
    """The mean of the highest `count` values, at least one, at most all."""
    number = int(np.clip(round(count), 1, len(values)))
    return float(np.partition(values, len(values) - number)[len(values) - number :].mean(dtype=np.float64))


def _largest(map: np.ndarray, where: np.ndarray, threshold: float, raster: Raster) -> float:
    """What the largest connected part above the threshold holds above it, in mm^2 times the map's unit; 0 where there is none."""
    labels, count = ndimage.label(where & (map > threshold), np.ones((3, 3)))
    if not count:
        return 0.0
    largest = 1 + int(np.argmax(ndimage.sum_labels(np.ones_like(map), labels, np.arange(1, count + 1))))
    return float((map[labels == largest] - threshold).sum(dtype=np.float64)) * raster.pixel_mm2


def _smoothed(maps: np.ndarray, body: np.ndarray, numbers: np.ndarray, raster: Raster, plan: Pooling) -> np.ndarray:
    """Normalised Gaussian inside the body, within the box around it."""
    if not body.any():
        return maps
    box = tuple(slice(int(edge.min()), int(edge.max()) + 1) for edge in np.nonzero(body.any(0)))
    inner, inside = maps[(slice(None), *box)], body[(slice(None), *box)].astype(np.float32)
    sigma = [plan.smooth_mm / mm for mm in raster.pixel_mm]
    out = maps.copy()
    if plan.through_slices and raster.slice_mm is not None and len(maps) > 1:
        place = numbers - numbers.min()
        whole = np.zeros((2, place.max() + 1, *inner.shape[1:]), np.float32)
        whole[0, place], whole[1, place] = inner, inside
        value, weight = (_gaussian(each, (plan.smooth_mm / raster.slice_mm, *sigma))[place] for each in whole)
    else:
        value, weight = (_gaussian(each, (0.0, *sigma)) for each in (inner, inside))
    out[(slice(None), *box)] = np.where(inside > 0, value / np.maximum(weight, 1e-6), 0)
    return out


def _gaussian(stack: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
    return ndimage.gaussian_filter(stack, sigma, mode="constant", truncate=3.0)
