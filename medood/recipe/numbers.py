"""What is special about a recipe whose source is a table of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medood.recipe import catalogue

_SOURCE, _FEATURES, _TRANSFORMS = "numbers", "columns", "numbers"


def is_numbers(source: Any) -> bool:
    return isinstance(source, Mapping) and source.get("name") == _SOURCE


def for_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe for a table need not name transforms and features, for there is only one choice."""
    if not is_numbers(values.get("source")):
        return values
    columns = values["source"].get("columns")
    channels = {"channels": len(columns)} if isinstance(columns, list) and columns else {}
    transforms = values.get("transforms") or _TRANSFORMS
    transforms = transforms if isinstance(transforms, Mapping) else {"name": transforms}
    needed = any(card.features == "required" for card in _cards(values.get("detector")))
    features = {"name": _FEATURES} if needed else None
    return {**values, "transforms": {**transforms, **channels}, "features": values.get("features") or features}


def wrong_for_numbers(values: Mapping[str, Any], at: Callable[[str], str]) -> list[str]:
    """What cannot go together with a table, or with images, in sentences; `at` says where a key stands."""
    features = values.get("features")
    chosen = features.get("name") if isinstance(features, Mapping) else None
    transforms = values.get("transforms")
    channels = getattr(transforms, "channels", 1)
    if not is_numbers(values.get("source")):
        wrong = [f"{at('features')}: {_FEATURES} are those of a table, of the source {_SOURCE}."] if chosen == _FEATURES else []
        return wrong + ([f"{at('transforms')}: images have 1 or 3 channels, found {channels}."] if channels not in (1, 3) else [])
    wrong = []
    takers = ", ".join(name for name, other in catalogue.detectors().items() if other.features == "required")
    for card in _cards(values.get("detector")):
        if card.features != "required":
            wrong.append(f"{at('detector')}: {card.name} works on images, and a table of numbers has none; take one of {takers}.")
    if chosen not in (None, _FEATURES):
        wrong.append(f"{at('features')}: {chosen} are features of images; a table of numbers has its {_FEATURES}, leave them out.")
    if transforms is not None and getattr(transforms, "size", None) != (1, 1):
        wrong.append(f"{at('transforms')}: a table of numbers has no images to transform; leave them out.")
    contrast = values.get("contrast")
    if contrast == "synthetic" or (isinstance(contrast, Mapping) and not is_numbers(contrast)):
        wrong.append(f"{at('contrast')}: a table is told from another table of the same columns, or from `product_of_marginals`.")
    if values.get("augment"):
        wrong.append(f"{at('augment')}: changes images, and a table of numbers has none; leave it out.")
    return wrong


def _cards(detector: Any) -> list[catalogue.Card]:
    """That of the detector, or those of its members."""
    if not isinstance(detector, Mapping):
        return []
    members = detector.get("members")
    names = [part.get("name") for part in (detector, *(members if isinstance(members, list) else ())) if isinstance(part, Mapping)]
    found = [catalogue.detectors().get(str(name)) for name in names]
    return [card for card in found if card is not None and not card.takes_members]
