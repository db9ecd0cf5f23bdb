"""What is worth a trial for which kind of images: one table of preparations, features, detectors and ways to read a map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medood.advising.survey import Survey
from medood.core.errors import MedoodError
from medood.features.weights import find_weights
from medood.recipe import catalogue
from medood.recipe.loading import resolve
from medood.recipe.recipe import Recipe

Values = dict[str, Any]

IMAGENET, DINO, HAND_MADE = "efficientnet_lite0", "dinov2_vits14", "gradient_histograms"

_BODY = {"low": -4.0, "high": 6.0, "to_low": 0.05, "to_high": 1.0}
_SPREAD: Values = {
    "summary": "Grey values in interquartile ranges of the body from its median",
    "background": 0.0,
    "steps": ["to_grey", {"foreground": {"method": "auto"}}, "robust_scale", {"scale_range": _BODY}],
}
_PERCENTILES: Values = {
    "summary": "Grey values between the 0.5th and the 99.5th percentile of the body",
    "background": 0.0,
    "steps": [
        "to_grey",
        {"foreground": {"method": "auto"}},
        {"percentile_scale": {"lower": 0.5, "upper": 99.5}},
        {"scale_range": {"low": 0.0, "high": 1.0, "to_low": 0.05, "to_high": 1.0}},
    ],
}
PREPARATIONS: dict[str, dict[str, Values]] = {
    "volumes": {"spread in the body": _SPREAD, "percentiles in the body": _PERCENTILES},
    "pictures of a body": {"spread in the body": _SPREAD, "percentiles": {"name": "grey_image"}},
    "grey pictures": {"percentiles": {"name": "grey_image"}, "as displayed": {"name": "rsna_dicom"}},
    "colour pictures": {"colours": {"name": "rgb_image"}, "grey percentiles": {"name": "grey_image"}},
}
"""Transforms by the kind of images and the name in the table; the first is also that of the networks that are trained."""

_LAYERS: dict[str, tuple[list[int], list[int]]] = {
    IMAGENET: ([1, 2, 3, 4], [2, 3]),
    DINO: ([6, 9], [6, 9]),
    HAND_MADE: ([8, 16], [8, 16]),
}
"""Layers for detectors that look at images as a whole, and for those that look at places."""

_WHOLE: tuple[Values, ...] = ({"name": "knn"}, {"name": "mahalanobis"})
_MAPLESS = tuple(detector["name"] for detector in _WHOLE)
_PLACES: tuple[Values, ...] = ({"name": "padim"}, {"name": "patch_core", "bank": 2000, "candidates": 40_000})
_SIDES: tuple[Values, ...] = tuple({"name": "intensity", "side": side} for side in ("both", "higher", "lower"))
_VALUE = {"reference": "value"}  # volumes do not show the same anatomy in the same place
_SMALL = [64, 64]
_TRAINED: tuple[tuple[Values, Values], ...] = (
    ({"name": "autoencoder", "latent": 16, "epochs": 40}, {"batch_size": 32}),
    ({"name": "autoencoder", "latent": 16, "epochs": 40, "error": "ssim"}, {"batch_size": 32}),
    ({"name": "dae", "width": 16, "epochs": 30}, {"batch_size": 16, "schedule": "cosine"}),
)
"""Detectors whose networks learn, at 64 x 64 pixels, and how they are trained."""

READINGS: dict[str, dict[str, Values]] = {
    "volumes": {
        "hottest 200 mm²": {"smooth_mm": 2.0, "erode_mm": 3.0, "reduction": "top_mm2", "top_mm2": 200.0},
        "mean": {"reduction": "mean"},
    },
    "pictures of a body": {
        "98th percentile": {"smooth_mm": 4.0, "erode_mm": 12.0, "reduction": "percentile", "percentile": 98.0},
        "mean": {"reduction": "mean"},
    },
    "pictures": {"mean": {"reduction": "mean"}, "98th percentile": {"smooth_mm": 4.0, "reduction": "percentile", "percentile": 98.0}},
}
"""How a map becomes a score: `pooling` of a recipe by the name in the table."""


@dataclass(frozen=True)
class Reading:
    """A way to read a detector's map: the recipe with it, resolved, and as a person would write it."""

    recipe: Recipe
    written: Values


@dataclass(frozen=True)
class Candidate:
    """A detector with its preparation, and the ways to read its map; one way, "", where it makes none.

    name  of the detector with what sets it apart;  on  its features, or "";  preparation  its name;  recipe  without pooling
    """

    name: str
    on: str
    preparation: str
    recipe: Recipe
    readings: Mapping[str, Reading]

    @property
    def shown_as(self) -> str:
        """The same for candidates whose images are the same."""
        return self.recipe.transforms.model_dump_json(exclude={"summary"})

    def title(self, way: str = "") -> str:
        return ", ".join(filter(None, (f"{self.name} on {self.on}" if self.on else self.name, self.preparation, way)))


def candidates(survey: Survey, source: Values, networks: Sequence[Values], *, only: Sequence[str] = (), seed: int = 0) -> list[Candidate]:
    """Those that fit, in the order of the table; `only` of these detectors. Raises MedoodError when none is left."""
    kind = _kind_of(survey)
    rows = _rows(survey, kind, networks)
    known = list(dict.fromkeys(row.detector["name"] for row in rows))
    if unknown := [name for name in only if name not in known]:
        raise MedoodError(f"{', '.join(unknown)}: no detector that is tried on images of this kind; those are {', '.join(known)}.")
    ways = READINGS["volumes" if survey.volumes else kind if kind in READINGS else "pictures"]
    return [_candidate(row, ways, source, seed) for row in rows if not only or row.detector["name"] in only]


def networks(dinov2: str | None = None) -> tuple[list[Values], list[str]]:
    """Features that can be had on this machine, and sentences on those that cannot. Raises MedoodError when there is no file `dinov2`."""
    found: list[Values] = []
    said = []
    for name, weights in ((IMAGENET, "imagenet"), (DINO, dinov2 or "dinov2")):
        try:
            extractor: Any = catalogue.features()[name].load()
            find_weights(weights, extractor.words)
        except MedoodError as error:
            if weights == dinov2:
                raise
            if name == IMAGENET:
                said.append(f"Hand-made features are used instead of a network: {str(error).removeprefix('features: ')}")
            continue
        found.append({"name": name, "weights": weights})
    return [{"name": HAND_MADE}, *found] if said else found, said


@dataclass(frozen=True)
class _Row:
    """A preparation with its name, and what goes with it."""

    label: str
    preparation: Values
    detector: Values
    features: Values | None = None
    training: Values | None = None


def _rows(survey: Survey, kind: str, networks: Sequence[Values]) -> list[_Row]:
    found: list[_Row] = []
    for number, (label, preparation) in enumerate(PREPARATIONS[kind].items()):
        prepared = preparation | _view(survey)
        for detector in _SIDES if number == 0 or survey.volumes else _SIDES[:1]:
            found.append(_Row(label, prepared, detector | (_VALUE if survey.volumes else {})))
        for network in networks:
            whole, places = _LAYERS[network["name"]]
            looks = [(detector, whole) for detector in _WHOLE if not survey.volumes] + [(detector, places) for detector in _PLACES]
            found += [_Row(label, prepared, detector, network | {"layers": layers}) for detector, layers in looks]
        if number == 0:
            found += [_Row(label, prepared | {"size": _SMALL}, detector, None, training) for detector, training in _TRAINED]
    return found


def _kind_of(survey: Survey) -> str:
    if survey.volumes:
        return "volumes"
    if survey.colour:
        return "colour pictures"
    return "grey pictures" if survey.surroundings == "none" else "pictures of a body"


def _view(survey: Survey) -> Values:
    """Volumes show as many millimetres in every image, and slices with less than half of the fullest slice's body are left out."""
    if not survey.volumes:
        return {}
    side = None if survey.extent_mm is None else 8.0 * math.ceil(survey.extent_mm / 8.0)
    return {"min_foreground": 0.5} | ({} if side is None else {"field_of_view": [side, side]})


def _candidate(row: _Row, ways: Mapping[str, Values], source: Values, seed: int) -> Candidate:
    detector = row.detector
    values: Values = {"source": source, "transforms": row.preparation, "detector": detector, "seed": seed}
    values |= {"features": row.features} if row.features else {}
    values |= {"training": row.training} if row.training else {}
    recipe = resolve(values, {}, "advise")
    plans = {way: {"pooling": plan} for way, plan in ways.items()} if detector["name"] not in _MAPLESS else {"": {}}
    readings = {way: Reading(resolve(values | plan, {}, "advise"), values | plan) for way, plan in plans.items()}
    apart = [str(detector[key]) for key in ("side", "error") if key in detector]
    on = row.features["name"] if row.features else ""
    return Candidate(" ".join([detector["name"], *apart]), on, row.label, recipe, readings)
