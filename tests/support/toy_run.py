"""A run without training: its detector calls bright images anomalous, and goes wrong on the images it is told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from toy_gate import toy_gate

from medood.core.detector import Detector, ImageSpec, Scores
from medood.core.map_scale import MapScale
from medood.data.near_copies import HashedImages
from medood.metrics.calibration import Calibration
from medood.recipe.recipe import Recipe
from medood.recipe.run import Run

SIZE = 32
LEVELS = np.linspace(0.2, 0.6, 40)
"""Scores of the held-out normal images: their brightness."""


class Brightness(Detector):
    """The mean of an image is its score, the image itself its map. `trouble`: called with every batch before it is scored."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(spec)
        self.fitted_.fill_(True)
        self.trouble: Callable[[Tensor], object] = lambda images: None
        self.batches: list[int] = []

    def _score(self, image: Tensor) -> Scores:
        self.batches.append(len(image))
        self.trouble(image)
        grey = image.mean(1, keepdim=True)
        return Scores(grey.mean((1, 2, 3)), grey)


def toy_run(folder: Path, *, batch_size: int = 4, **preparation: object) -> Run:
    """For grey pictures of 8 bit; `preparation` replaces keys of its transforms."""
    steps = [{"scale_range": {"low": 0.0, "high": 255.0}}]
    transforms = {"summary": "toy", "size": [SIZE, SIZE], "range": [0.0, 1.0], "steps": steps, **preparation}
    recipe = Recipe.model_validate(
        {
            "summary": "toy",
            "source": {"name": "folder", "root": "nowhere"},
            "transforms": transforms,
            "detector": {"name": "autoencoder"},
            "scoring": {"batch_size": batch_size},
        }
    )
    plan = recipe.transforms
    detector = Brightness(ImageSpec(plan.channels, *plan.size, *plan.range, plan.background)).eval()
    image = Calibration.fit(LEVELS, np.array([str(i) for i in range(len(LEVELS))]), 0.05).with_maps(MapScale(0.5, 0.9, 0.5))
    calibration = {
        "image": image.to_dict(),
        "series": None,
        "series_reason": "it is a toy",
        "parts": [],
        "pooling_threshold": None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    toy_gate(detector.spec).save(folder)
    (folder / "manifest.json").write_text("{}")
    return Run(folder, recipe, detector, calibration, {})


def toy_run_on_disk(folder: Path) -> Run:
    """A toy run with the files that scoring looks into; it was made from no image."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    (folder / "index.json").write_text("[]", encoding="utf-8")
    HashedImages(np.zeros((0, 400), np.uint8), np.zeros(0, int), ()).save(folder / "hashes.npz")
    return toy_run(folder)


def ones(images: Tensor) -> Tensor:
    """Which images of a batch have a white pixel: a mark for trouble."""
    return torch.amax(images, (1, 2, 3)) == 1
