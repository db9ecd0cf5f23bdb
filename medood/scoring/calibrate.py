"""What the held-out normal images say: thresholds and p-values, the maps' colour scale, and the input gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from medood.core.detector import Detector
from medood.core.errors import CalibrationError
from medood.core.recipe import Recipe
from medood.data.cache import CachedEntry, CachedImages
from medood.metrics.calibration import Calibration, fit_map_scale
from medood.scoring.gate import fit_gate
from medood.scoring.inference import Scored, score_images


def calibrate(
    detector: Detector, held_out: CachedImages, training: Sequence[CachedEntry], recipe: Recipe, device: torch.device
) -> dict[str, Any]:
    """The content of a run's calibration.json; everything in it comes from normal images.

    image   Calibration of slice or image scores;  series  Calibration of series scores, or None and `series_reason`
    parts   names of the detector's components;    gate    the kind of input, from the training and held-out volumes
    """
    rate = recipe.calibration.false_alarm_rate
    scores = np.zeros(len(held_out))
    parts: list[str] = []

    def maps() -> Iterator[np.ndarray]:
        for numbers, scored, inside in _batches(detector, held_out, recipe, device):
            scores[numbers] = scored.image
            parts[:] = scored.parts
            if scored.map is not None:
                yield scored.map[inside]

    scale = _map_scale(maps(), recipe)
    image = Calibration.fit(scores, np.array(held_out.groups), rate)
    series, reason = _series(scores, held_out, recipe)
    return {
        "image": (image.with_maps(scale) if scale else image).to_dict(),
        "series": series.to_dict() if series else None,
        "series_reason": reason,
        "parts": parts,
        "gate": fit_gate([e.facts for e in [*training, *held_out.entries]]),
    }


def check_enough(held_out: CachedImages, recipe: Recipe) -> None:
    """Refuse before hours of training what calibration would refuse after them."""
    Calibration.fit(np.arange(len(held_out), dtype=float), np.array(held_out.groups), recipe.calibration.false_alarm_rate)


def series_score(scores: np.ndarray, top: int) -> float:
    """The mean of the `top` highest slice scores of a series, of all when there are fewer."""
    return float(np.sort(scores)[-top:].mean())


def _batches(
    detector: Detector, images: CachedImages, recipe: Recipe, device: torch.device
) -> Iterator[tuple[np.ndarray, Scored, np.ndarray]]:
    """Image numbers, their scores, and bool (n, height, width) of the body in them."""
    size = recipe.scoring.batch_size
    for start in range(0, len(images), size):
        numbers = np.arange(start, min(start + size, len(images)))
        batch = images.gather(numbers)
        yield numbers, score_images(detector, batch, size, device), detector.foreground(batch)[:, 0].numpy()


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
    """Calibration of series scores, from the held-out volumes of more than one slice whose slices are all normal."""
    rows = {i: scores[held_out.owner == i] for i, entry in enumerate(held_out.entries) if entry.entry.slices > 1}
    rows = {i: values for i, values in rows.items() if len(values)}
    if not rows:
        return None, "the run was trained on single images"
    values = np.array([series_score(row, recipe.scoring.top_slices) for row in rows.values()])
    groups = np.array([held_out.entries[i].entry.group for i in rows])
    try:
        return Calibration.fit(values, groups, recipe.calibration.false_alarm_rate), ""
    except CalibrationError as error:
        return None, str(error).replace("normal images", "normal series")
