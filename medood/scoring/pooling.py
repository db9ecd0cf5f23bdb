"""From a detector's map to a score, as somebody looks at an image: smoothed, away from the rim of the body, where it is hottest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medood.core.geometry import Raster
from medood.core.quantiles import quantiles
from medood.recipe.recipe import Pooling, Recipe
from medood.scoring.inference import Scored
from medood.scoring.smoothing import Smoothing


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
        changed = plan.gaussians_mm or plan.median_mm or plan.side != "both" or plan.rim == "hidden"
        return plan.reduction == "detector" and not changed

    def maps(self, scored: Scored, images: np.ndarray, numbers: np.ndarray, raster: Raster) -> np.ndarray:
        """The pooled maps (n, height, width) of one entry, from its scores and its images (n, channels, height, width)."""
        assert scored.map is not None
        body = self.body(images)
        return pooled_maps(scored.map, body, raster, self.plan, smoothing_of(body, numbers, raster, self.plan), scored.residual)

    def body(self, images: np.ndarray) -> np.ndarray:
        """bool (n, height, width): inside the body, everywhere when the images have no outside."""
        shape = len(images), *images.shape[2:]
        return np.ones(shape, dtype=bool) if self.background is None else (images != self.background).any(1)

    def __call__(self, scored: Scored, images: np.ndarray, numbers: np.ndarray, raster: Raster, *, plain: bool = False) -> Scored:
        """Scores and maps of one entry as the recipe wants them; what the detector itself scored stays as the part `detector`. With `plain`
        also brightness and darkness pooled in the same way, which takes as long again."""
        if self.idle or scored.map is None:
            return scored
        body = self.body(images)
        smoothing = smoothing_of(body, numbers, raster, self.plan)
        maps = pooled_maps(scored.map, body, raster, self.plan, smoothing, scored.residual)
        where = counted(body, raster, self.plan)
        scored = replace(scored, map=maps, shown=where if self.plan.rim == "hidden" else None)
        if self.plan.reduction == "detector":
            return scored
        image, parts = slice_scores(maps, where, raster, self.plan, self.threshold), {"detector": scored.image, **scored.parts}
        scored = replace(scored, image=image, parts=parts)
        return replace(scored, plain=self._plain(images, body, where, raster, smoothing)) if plain else scored

    def series(self, scored: Scored, images: np.ndarray, raster: Raster, top_slices: int) -> float:
        """The score of a series from the pooled scores and maps of its slices."""
        if self.plan.series == "top_mm3" and scored.map is not None:
            return series_top(scored.map, counted(self.body(images), raster, self.plan), raster, self.plan)
        return float(np.sort(scored.image)[-top_slices:].mean())

    def plain(self, images: np.ndarray, numbers: np.ndarray, raster: Raster) -> dict[str, np.ndarray]:
        """(n,) each: brightness and darkness taken for a map and pooled in the same way; empty where maps make no scores."""
        if self.idle or self.plan.reduction == "detector":
            return {}
        body = self.body(images)
        return self._plain(images, body, counted(body, raster, self.plan), raster, smoothing_of(body, numbers, raster, self.plan))

    def _plain(
        self, images: np.ndarray, body: np.ndarray, where: np.ndarray, raster: Raster, smoothing: Smoothing | None
    ) -> dict[str, np.ndarray]:
        if self.plan.reduction == "largest_component":
            return {}
        plan = self.plan.model_copy(update={"side": "both"})
        bright = pooled_maps(images.mean(1), body, raster, plan, smoothing)
        found = {"plain_bright": bright, "plain_dark": np.where(body, self.high - bright, np.float32(0))}
        return {name: slice_scores(maps, where, raster, plan) for name, maps in found.items()}


def smoothing_of(body: np.ndarray, numbers: np.ndarray, raster: Raster, plan: Pooling) -> Smoothing | None:
    """What a plan smooths maps by, those of one entry with slices of these `numbers`."""
    return Smoothing(body, numbers if plan.through_slices else None, raster, plan.gaussians_mm) if plan.gaussians_mm else None


def pooled_maps(
    maps: np.ndarray, body: np.ndarray, raster: Raster, plan: Pooling, smoothing: Smoothing | None, residual: np.ndarray | None = None
) -> np.ndarray:
    """Maps of one entry after side, median and smoothing; 0 outside the body.

    maps      float32 (n, height, width), higher is more anomalous
    body      bool (n, height, width)
    residual  (n, height, width) image minus reconstruction, for `side`: "higher" keeps the map where the image is the brighter one
    """
    maps = np.where(body, maps, 0).astype(np.float32)
    if plan.side != "both" and residual is not None:
        maps = np.where(residual > 0 if plan.side == "higher" else residual < 0, maps, np.float32(0))
    if plan.median_mm:
        sizes = [1 + 2 * round(plan.median_mm / (2 * mm)) for mm in raster.pixel_mm]
        maps = np.where(body, ndimage.median_filter(maps, (1, *sizes)), np.float32(0))
    return smoothing(maps) if smoothing else maps


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
        return quantiles(values, (plan.percentile / 100,))[0]
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
