"""In what two recipes differ, of what matters to training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medood.recipe.contrast import both_sources
from medood.recipe.recipe import Recipe


def changed_keys(before: Recipe, now: Recipe) -> list[str]:
    """Keys of two recipes that train differently. Summaries do not matter, nor where the images lie, nor a checksum that one of them does
    not know. The members that come from runs follow from these."""

    def matters(recipe: Recipe) -> dict[str, Any]:
        values = recipe.model_dump(mode="json", exclude={"summary": True, "pretraining": True, "transforms": {"summary"}})
        detector = {key: value for key, value in values["detector"].items() if key != "members" or not values["detector"].get("runs")}
        for source in (values["source"], *both_sources(values["contrast"])):
            source.pop("root", None)
        return {**values, "detector": detector}

    old, new = matters(before), matters(now)
    for one, other in zip(_all_features(old), _all_features(new), strict=False):  # fewer members are a change anyway
        if one and other:
            sums = [features.pop("sha256", None) for features in (one, other)]
            if all(sums):  # the same file may lie elsewhere
                one["weights"], other["weights"] = sums
    for one, other in zip(_all_detectors(old), _all_detectors(new), strict=False):
        sums = [detector.pop("sha256", None) for detector in (one, other)]
        if all(sums):
            one["classifier"], other["classifier"] = sums
    return [key for key in new if old[key] != new[key]]


def _all_detectors(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The detector and each of its members."""
    return [values["detector"], *values["detector"].get("members", [])]


def _all_features(values: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    """Those of the detector and of each of its members."""
    return [values["features"], *(member.get("features") for member in values["detector"].get("members", []))]
