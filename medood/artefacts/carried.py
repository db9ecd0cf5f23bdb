"""What of a run a program can carry, and what the caller has to do first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import nn

from medood.artefacts.generated import made_new
from medood.artefacts.placing import FromPixels, ToPixels
from medood.artefacts.pooling import OnePool
from medood.artefacts.program import AsPrepared, Parts
from medood.artefacts.samples import Grid, Sample, commonest_grid, commonest_raster, on_grid
from medood.artefacts.steps import WHOLE_VOLUME, without_form
from medood.core.detector import Detector
from medood.core.errors import MedoodError
from medood.core.geometry import Raster
from medood.core.volume import Entry, Volume
from medood.detectors.occlusion import Occlusion
from medood.metrics.calibration import Calibration
from medood.recipe.recipe import Recipe
from medood.recipe.run import Run
from medood.scoring.map_folder import outside
from medood.scoring.pooling import Pool
from medood.transforms.pipeline import Pipeline, Prepared

Input = Literal["pixels", "prepared"]

_OUTSIDE = {
    "gradient_histograms": "scikit-image",
    "local_binary_patterns": "scikit-image",
    "outlines": "scikit-image",
    "pyod": "PyOD",
    "blind_spot_vae": "the PNG encoder (choose a `score` other than dose, dose_svm, complexity or bits)",
    "classifier_guard": "ONNX Runtime (export your classifier with torch.export.save instead)",
}
"""What some detectors and features compute outside of torch."""


@dataclass(frozen=True, eq=False)
class Carried:
    """What goes into the program of a run, and the images (n, C, rows, columns) that it is tried on.

    kind    of the input: pixel values, or images that the transforms have prepared
    before  why the caller must prepare images; nothing for pixel values
    grid    of the pixels; None for prepared images
    """

    run: Run
    kind: Input
    before: list[str]
    grid: Grid | None
    raster: Raster
    inputs: np.ndarray

    @property
    def detector(self) -> Detector:
        """Without a map by occlusion, for which every image is scored some hundred times, those of it that show the body."""
        found = self.run.detector
        return found.detector if isinstance(found, Occlusion) else found

    @property
    def not_inside(self) -> list[str]:
        """Sentences on what `medood score` does besides."""
        series = ["scores of whole series"] if self.run.calibration["series"] else []
        occluded = ["the map by occlusion"] if isinstance(self.run.detector, Occlusion) else []
        return [*occluded, "the gate, which refuses images of another kind than those trained on", "the parts beside the score", *series]

    def parts(self) -> Parts:
        recipe = self.run.recipe
        plan, calibration = recipe.transforms, Calibration.from_dict(self.run.calibration["image"])
        pool = None if Pool.of_recipe(recipe).idle else OnePool(recipe.pooling, plan.size, self.raster)
        nothing = outside(calibration.map_scale)
        if self.grid is None:
            return Parts(nn.Identity(), self.detector, plan.background, pool, calibration, AsPrepared(nothing))
        placement = self.prepared(self.inputs[0]).way.placement
        return Parts(FromPixels(plan, placement), self.detector, plan.background, pool, calibration, ToPixels(placement, nothing))

    def prepared(self, pixels: np.ndarray) -> Prepared:
        """Pixels (C, rows, columns) as the run's transforms prepare them."""
        assert self.grid is not None
        entry = Entry("image", (), "image")
        return Pipeline(self.run.recipe.transforms).prepare(Volume(entry, pixels[:, None], self.grid.geometry(), np.full(1, -1, np.int8)))

    @property
    def computed_elsewhere(self) -> str:
        """A sentence, for a run of which a part is not computed by torch."""
        recipe = self.run.recipe
        names = _named(recipe.detector) | _named(recipe.features or {})
        by = next((f"{name} is computed by {library}" for name, library in _OUTSIDE.items() if name in names), None)
        return f"{by or 'a part of its score is computed by a library other than PyTorch'}, which no program of tensor operations can hold."


def carry(run: Run, samples: Sequence[Sample], wanted: Literal["auto", "pixels", "prepared"] = "auto") -> Carried:
    """Raises MedoodError for a run that cannot leave medood, a sentence on why."""
    _check_precision(run.recipe)
    _check_pooling(run.recipe, samples)
    why = _obstacles(run.recipe, samples)
    if wanted == "pixels" and why:
        raise MedoodError(f"This run cannot be exported for pixel values: {why[0]}. Leave --input away for one that takes prepared images.")
    background = run.recipe.transforms.background
    if wanted == "prepared" or why:
        images, raster = np.stack([sample.image for sample in samples]), commonest_raster(samples)
        raster = Raster(raster.pixel_mm, None, raster.known)
        return Carried(run, "prepared", why or ["it was asked for"], None, raster, _new(run, images, background))
    grid = commonest_grid(samples)
    pixels = [on_grid(sample.pixels, grid) for sample in samples if len(sample.pixels) == len(samples[0].pixels)]
    carried = Carried(run, "pixels", [], grid, Raster((1.0, 1.0)), _new(run, np.stack(pixels), None))
    return Carried(run, "pixels", [], grid, carried.prepared(carried.inputs[0]).raster, carried.inputs)


def _new(run: Run, images: np.ndarray, background: float | None) -> np.ndarray:
    knows = any(name.rpartition(".")[2] == "keys_" for name, _ in run.detector.named_buffers())
    return made_new(images, background) if knows else images


def _obstacles(recipe: Recipe, samples: Sequence[Sample]) -> list[str]:
    """Why pixel values of one image are not enough."""
    steps: list[Any] = recipe.transforms.steps
    names = [name for step in steps for name in step]
    found = [f"the step {name} has no form in operations of tensors" for name in without_form(steps)]
    if any(sample.slices > 1 for sample in samples):
        found += [f"the step {name} looks at the whole volume" for name in names if name in WHOLE_VOLUME and name != "voi_window"]
    if "voi_window" in names and any(sample.windowed for sample in samples):
        found.append("the step voi_window applies the window that each file names")
    return found


def _check_precision(recipe: Recipe) -> None:
    if recipe.scoring.precision != "float32":
        raise MedoodError(
            f"This run cannot be exported: its scores are computed in {recipe.scoring.precision}, and other programs round in other ways. "
            "Train with `scoring.precision: float32`."
        )


def _check_pooling(recipe: Recipe, samples: Sequence[Sample]) -> None:
    plan = recipe.pooling
    if plan.reduction == "largest_component":
        raise MedoodError(
            "This run cannot be exported: `pooling.reduction: largest_component` follows connected parts of any shape, which no fixed "
            "sequence of tensor operations does."
        )
    if plan.gaussians_mm and plan.through_slices and any(sample.raster.slice_mm is not None for sample in samples):
        raise MedoodError(
            "This run cannot be exported: its maps are smoothed through neighbouring slices, and the file sees one image at a time. Train "
            "with `pooling.through_slices: false`."
        )


def _named(section: Any) -> set[str]:
    """Every `name` in a section of a recipe."""
    if isinstance(section, dict):
        own = {section["name"]} if isinstance(section.get("name"), str) else set()
        return own.union(*map(_named, section.values()))
    return set().union(*map(_named, section)) if isinstance(section, (list, tuple)) else set()
