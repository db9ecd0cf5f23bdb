"""One candidate on trial: trained on normal images, then asked about normal images and pasted anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from medood.advising.candidates import Candidate
from medood.advising.images import Shown, Some
from medood.core.detector import Detector
from medood.features.interface import keep_features
from medood.metrics.trivial import PLAIN_FEATURES, POOLED_FEATURES, trivial_features
from medood.recipe.building import build_detector
from medood.recipe.recipe import Recipe
from medood.scoring.inference import score_images
from medood.scoring.pooling import Pool
from medood.training.trainer import train

_TRIVIAL = tuple(name for name in PLAIN_FEATURES if name != "plain_bytes")  # a pasted image has no file


def fresh(candidate: Candidate) -> Detector:
    """As `medood train` would build it."""
    torch.manual_seed(candidate.recipe.seed)
    return build_detector(candidate.recipe)


def trained(candidate: Candidate, images: Some, held_out: Some, features: Path, device: torch.device) -> Detector:
    """Trained as `medood train` would with these images; no file of it is left. Features are kept below `features`."""
    detector, recipe = fresh(candidate), candidate.recipe
    keep_features(detector, features)
    plan = recipe.training.model_copy(update={"tensorboard": False})
    with TemporaryDirectory(prefix="medood-") as folder:
        train(detector, images, held_out, plan, Path(folder), seed=recipe.seed, device=device, progress=False)
    return detector


def scores(detector: Detector, candidate: Candidate, shown: Sequence[Shown], features: Path, device: torch.device) -> dict[str, np.ndarray]:
    """Scores of all images that count, by the way of reading, in the order of `shown`."""
    keep_features(detector, features)
    pools = {way: Pool.of_recipe(reading.recipe) for way, reading in candidate.readings.items()}
    found: dict[str, list[np.ndarray]] = {way: [] for way in pools}
    for one in shown:
        images = one.images()
        scored = score_images(detector, torch.from_numpy(images), candidate.recipe.scoring.batch_size, device)
        for way, pool in pools.items():
            found[way].append(pool(scored, images, one.slices, one.raster).image[one.counted])
    return {way: np.concatenate(pieces) for way, pieces in found.items()}


def plain(recipe: Recipe, shown: Sequence[Shown]) -> dict[str, np.ndarray]:
    """Trivial features of all images that count, by their names; brightness and darkness pooled as the recipe's maps are."""
    pool = Pool.of_recipe(recipe)
    found: dict[str, list[float]] = {name: [] for name in (*_TRIVIAL, *POOLED_FEATURES)}
    for one in shown:
        images = one.images()
        pooled = pool.plain(images, one.slices, one.raster)
        for number in np.flatnonzero(one.counted):
            values = trivial_features(images[number], pool.body(images[number : number + 1])[0], 0.0)
            for name in _TRIVIAL:
                found[name].append(values[name])
            for name in pooled:
                found[name].append(float(pooled[name][number]))
    return {name: np.array(values) for name, values in found.items() if values}


def rows(shown: Sequence[Shown]) -> tuple[np.ndarray, np.ndarray]:
    """Case and patient of every image that counts."""
    number = [int(one.counted.sum()) for one in shown]
    return np.repeat([one.case for one in shown], number), np.repeat([one.group for one in shown], number)
