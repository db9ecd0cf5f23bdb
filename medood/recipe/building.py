"""From a recipe to a detector that is not trained yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medood.core.detector import Detector, ImageSpec
from medood.core.errors import MedoodError
from medood.recipe import catalogue
from medood.recipe.recipe import Recipe


def build_detector(recipe: Recipe) -> Detector:
    """A fresh detector as the recipe describes it. Raises MedoodError if it cannot take the size or range of the transforms, or if the
    weights of its features are not to be had."""
    section = {**recipe.detector, **({"features": recipe.features} if recipe.features else {})}
    try:
        return _rounding(_with_map(detector_of(section, image_spec(recipe)), recipe), recipe)
    except (RuntimeError, MemoryError) as error:  # torch's word for too much memory
        raise MedoodError(
            f"The detector {section['name']} of this size does not fit into memory: choose smaller images, widths or latents."
        ) from error


def _with_map(detector: Detector, recipe: Recipe) -> Detector:
    """The detector with a map by occlusion, if the recipe asks for one."""
    if recipe.occlusion is None:
        return detector
    built: Detector = catalogue.occlusion().load()(detector, **recipe.occlusion.model_dump())
    return built


def _rounding(detector: Detector, recipe: Recipe) -> Detector:
    """The detector, whose networks compute as `scoring.precision` says; those of an ensemble's members, where they can."""
    if recipe.scoring.precision != "bfloat16":
        return detector
    able = [part for part in detector.modules() if isinstance(part, Detector) and part.can_round]
    for part in able:
        part.rounds = True
    if not able:
        raise MedoodError(f"scoring.precision: bfloat16 is not for {type(detector).__name__}, which needs float32: leave it out.")
    return detector


def detector_of(section: Mapping[str, Any], spec: ImageSpec) -> Detector:
    """A fresh detector from its name and parameters, and from its `features` and `members` where it has such."""
    values = dict(section)
    card, features, members = catalogue.detectors()[values.pop("name")], values.pop("features", None), values.pop("members", None)
    on: list[Any] = [extractor_of(features, spec)] if features else []
    if card.takes_members:
        on = [_members(members or [], spec)]
    built: Detector = card.load()(spec, *on, **_tuples(values))
    return built


def extractor_of(section: Mapping[str, Any], spec: ImageSpec) -> Any:
    values = dict(section)
    return catalogue.features()[values.pop("name")].load()(spec, **_tuples(values))


def image_spec(recipe: Recipe) -> ImageSpec:
    plan = recipe.transforms
    return ImageSpec(plan.channels, *plan.size, *plan.range, plan.background)


def with_checksum(recipe: Recipe, detector: Any) -> Recipe:
    """The recipe with the sha256 of the weights files that the detector's features came from, so that a run notices other ones."""
    found = _with_classifier(recipe.detector, detector)
    if members := found.get("members"):
        found = found | {
            "members": [_with_classifier(_summed(member, part), part) for member, part in zip(members, detector.members, strict=True)]
        }
    return recipe.model_copy(update=_summed({"detector": found, "features": recipe.features}, detector))


def _with_classifier(section: dict[str, Any], detector: Any) -> dict[str, Any]:
    """A detector's section with the checksum of the classifier that it names, and where that lies on this machine."""
    if not section.get("classifier"):
        return section
    (file,) = [part for part in detector.modules() if hasattr(part, "sha256")]
    return section | {"classifier": str(file.path.resolve()), "sha256": file.sha256}


def _summed(section: dict[str, Any], detector: Any) -> dict[str, Any]:
    """A section with the checksum of the weights file in its `features`."""
    features = section.get("features")
    if not features or "sha256" not in features:
        return section
    found = [part.sha256 for part in detector.modules() if hasattr(part, "sha256")]
    return section | {"features": features | {"sha256": found[0] if found else None}}


def _members(sections: Sequence[Mapping[str, Any]], spec: ImageSpec) -> dict[str, Detector]:
    """Members by their labels. Those that work on layers of one network share it, so that it sees no image twice."""
    networks: dict[str, Any] = {}
    built = {}
    for section in sections:
        values = dict(section)
        label, features, card = values.pop("label"), values.pop("features", None), catalogue.detectors()[values.pop("name")]
        on = []
        if features:
            key = _without_layers(features)
            if key not in networks:
                wanted = [other["features"]["layers"] for other in sections if _without_layers(other.get("features")) == key]
                layers = list(dict.fromkeys(layer for some in wanted for layer in some))
                networks[key] = extractor_of({**features, "layers": layers}, spec)
            on = [networks[key].part(features["layers"])]
        built[label] = card.load()(spec, *on, **_tuples(values))
    return built


def _without_layers(features: Mapping[str, Any] | None) -> str:
    return json.dumps({key: value for key, value in (features or {}).items() if key != "layers"}, sort_keys=True)


def _tuples(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
