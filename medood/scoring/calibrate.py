"""What the held-out normal images say: thresholds and p-values, and the maps' colour scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medood.core.detector import Detector
from medood.core.errors import CalibrationError, MedoodError
from medood.core.geometry import Raster
from medood.core.running import processes
from medood.data.cache import CachedImages
from medood.metrics.calibration import Calibration, fit_map_scale
from medood.recipe.recipe import Recipe
from medood.scoring.inference import Scored, score_images
from medood.scoring.pooling import Pool


def calibrate(detector: Detector, held_out: CachedImages, recipe: Recipe, device: torch.device) -> tuple[dict[str, Any], np.ndarray]:
    """The content of a run's calibration.json, and the scores (n,) of the held-out images; everything comes from normal images.

    image   Calibration of slice or image scores;  series  Calibration of series scores, or None and `series_reason`
    parts   names of the detector's components
    """
    rate = recipe.calibration.false_alarm_rate
    pool = Pool.of_recipe(recipe)
    if recipe.pooling.reduction == "largest_component":
        pool = Pool.of_recipe(recipe, _component_threshold(detector, held_out, pool, recipe, device))
    scores, series = np.zeros(len(held_out)), np.full(len(held_out.entries), np.nan)
    parts: list[str] = []

    def maps() -> Iterator[np.ndarray]:
        for entry in _scored_entries(detector, held_out, pool, recipe, device):
            scored = pool(entry.scored, entry.images, entry.slices, entry.raster)
            scores[entry.numbers] = scored.image
            series[entry.owner] = pool.series(scored, entry.images, entry.raster, recipe.scoring.top_slices)
            parts[:] = scored.parts
            if scored.map is not None:
                yield scored.map[pool.body(entry.images) if scored.shown is None else scored.shown]

    scale = _map_scale(maps(), recipe)
    image = Calibration.fit(scores, np.array(held_out.groups), rate)
    of_series, reason = _series(series, held_out, recipe)
    content = {
        "image": (image.with_maps(scale) if scale else image).to_dict(),
        "series": of_series.to_dict() if of_series else None,
        "series_reason": reason,
        "parts": parts,
        "pooling_threshold": pool.threshold,
    }
    return content, scores


def check_enough(held_out: CachedImages, recipe: Recipe) -> None:
    """Refuse before hours of training what calibration would refuse after them."""
    Calibration.fit(np.arange(len(held_out), dtype=float), np.array(held_out.groups), recipe.calibration.false_alarm_rate)


def check_pooling(detector: Detector, recipe: Recipe) -> None:
    """Refuse before hours of training a pooling of what the detector does not make."""
    plan, name = recipe.pooling, recipe.detector["name"]
    if plan.side != "both" and type(detector)._reconstructions is Detector._reconstructions:
        raise MedoodError(f"pooling.side is about a reconstruction's residual, and {name} does not reconstruct images: leave it out.")
    if not Pool.of_recipe(recipe).idle and not detector.localises:
        raise MedoodError(f"`pooling` makes scores from maps, and {name} makes none as it is set here: leave `pooling` out.")


@dataclass(frozen=True, eq=False)
class _ScoredEntry:
    """The normal images of one held-out entry: their numbers among all, and what the detector says of them."""

    owner: int
    numbers: np.ndarray
    images: np.ndarray
    slices: np.ndarray
    raster: Raster
    scored: Scored


def _scored_entries(detector: Detector, held_out: CachedImages, pool: Pool, recipe: Recipe, device: torch.device) -> Iterator[_ScoredEntry]:
    """Every entry with images; small entries are scored together, in batches."""
    size = recipe.scoring.batch_size
    for numbers in _whole_entries(held_out.owner, size):
        batch = held_out.gather(numbers)
        scored = _by_all_processes(lambda images: score_images(detector, images, size, device, residual=pool.wants_residual), batch)
        for owner in np.unique(held_out.owner[numbers]).tolist():
            mine = np.flatnonzero(held_out.owner[numbers] == owner)
            rows, entry = slice(int(mine[0]), int(mine[-1]) + 1), held_out.entries[owner]
            slices = entry.slices[held_out.row[numbers[rows]]]
            yield _ScoredEntry(owner, numbers[rows], batch[rows].numpy(), slices, entry.raster, scored[rows])


def _by_all_processes(score: Callable[[Tensor], Scored], images: Tensor) -> Scored:
    """The scores of all images, of which each process of a training scores its part."""
    if len(images) < processes.count():
        return score(images)
    found = score(images[processes.part(len(images))])

    def joined(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else processes.gathered(torch.from_numpy(values)).numpy()

    image, *parts = (processes.gathered(torch.from_numpy(values)).numpy() for values in (found.image, *found.parts.values()))
    named = dict(zip(found.parts, parts, strict=True))
    return Scored(image, joined(found.map), joined(found.patches), named, joined(found.residual))


def _whole_entries(owner: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Numbers of images in order, entries whole, until at least `size` are together."""
    ends = [*(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(owner)]
    begin = 0
    for end in ends:
        if end - begin >= size or end == len(owner):
            yield np.arange(begin, end)
            begin = end


def _component_threshold(detector: Detector, held_out: CachedImages, pool: Pool, recipe: Recipe, device: torch.device) -> float:
    """The percentile of the pooled maps of all held-out images, inside the body, from at most about a million of their pixels."""
    values = []
    for entry in _scored_entries(detector, held_out, pool, recipe, device):
        maps = pool.maps(entry.scored, entry.images, entry.slices, entry.raster)
        inside = maps[pool.body(entry.images)]
        values.append(inside[:: max(1, len(inside) * len(held_out.entries) // 1_000_000)])
    return float(np.percentile(np.concatenate(values), recipe.pooling.percentile))


def _map_scale(maps: Iterator[np.ndarray], recipe: Recipe) -> Any:
    """The colour scale, or None for a detector without maps; runs through the maps either way."""
    first = next(maps, None)
    if first is None:
        return None

    def all_maps() -> Iterator[np.ndarray]:
        yield first
        yield from maps

    return fit_map_scale(all_maps(), exceeded=recipe.calibration.coloured_pixels)


def _series(scores: np.ndarray, held_out: CachedImages, recipe: Recipe) -> tuple[Calibration | None, str]:
    """Calibration of series scores, one per held-out entry and NaN where nothing of it was scored."""
    of = [i for i, entry in enumerate(held_out.entries) if entry.entry.slices > 1 and not np.isnan(scores[i])]
    if not of:
        return None, "the run was trained on single images"
    values, groups = scores[of], np.array([held_out.entries[i].entry.group for i in of])
    try:
        return Calibration.fit(values, groups, recipe.calibration.false_alarm_rate), ""
    except CalibrationError as error:
        return None, str(error).replace("normal images", "normal series")
