"""The section `contrast` of a recipe, for detectors that learn to tell normal images from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medood.recipe import catalogue
from medood.recipe.choices import named
from medood.recipe.literals import Places, place_of


def learner(detector: Any) -> str | None:
    """The name of the detector, or of its first member, that learns from a contrast; None when none does, as in runs trained before."""
    if not isinstance(detector, Mapping) or detector.get("runs"):
        return None
    members = detector.get("members")
    cards = catalogue.detectors()
    for part in (detector, *(members if isinstance(members, list) else ())):
        card = cards.get(str(part.get("name"))) if isinstance(part, Mapping) else None
        if card is not None and card.learns_from_contrast:
            return card.name
    return None


def both_sources(contrast: Any) -> list[dict[str, Any]]:
    """The sources that a contrast is made of: none, one, or the one that it is mixed with too."""
    if not isinstance(contrast, dict):
        return []
    return [contrast, *([contrast["mixed_with"]] if isinstance(contrast.get("mixed_with"), dict) else [])]


def checked_contrast(values: Mapping[str, Any], plan: Any, places: Places, where: str, problems: list[str]) -> Any:
    """The contrast of a recipe with its defaults filled in. `plan` is the Preparation of its own transforms, if it has such."""
    given, detector = values.get("contrast"), values.get("detector")
    at = f"{place_of(('contrast',), places, where)}: contrast"
    name = detector.get("name") if isinstance(detector, Mapping) else None
    if (wants := learner(detector)) and given is None:
        problems.append(
            f"{at}: {wants} learns to tell normal images from others and is given none. Name unlabelled images, {{name: folder, root: "
            "...}, or say synthetic or product_of_marginals."
        )
    if not wants and given is not None and name in catalogue.detectors():
        takers = ", ".join(name for name, other in catalogue.detectors().items() if other.learns_from_contrast)
        problems.append(f"{at}: {name} has no use for it; leave it out, or take one of the detectors {takers}.")
    if not isinstance(given, dict):
        return given
    source = {key: value for key, value in given.items() if key not in ("transforms", "mixed_with")}
    source = named("contrast", source, catalogue.sources(), places, where, problems)
    if "mixed_with" in given:
        source["mixed_with"] = _mixed_with(given["mixed_with"], places, where, problems)
    if source == values["source"]:
        problems.append(f"{at}: these are the training images themselves, and nothing can be told from itself; name other images.")
    own = values.get("transforms")
    if plan is None or own is None:
        return source  # none of its own, or reported elsewhere
    if (plan.channels, plan.range) != (own.channels, own.range):
        problems.append(
            f"{at}.transforms: makes images of {plan.channels} channel(s) with values {plan.range[0]:g} to {plan.range[1]:g}, and the "
            f"normal ones have {own.channels} with {own.range[0]:g} to {own.range[1]:g}; both must be the same."
        )
    return source | {"transforms": plan.model_copy(update={"size": own.size}).model_dump(mode="json")}


def _mixed_with(given: Any, places: Places, where: str, problems: list[str]) -> dict[str, Any]:
    """A second source and its share of the contrast."""
    path = ("contrast", "mixed_with")
    at = f"{place_of(path, places, where)}: contrast.mixed_with"
    share = given.get("share") if isinstance(given, dict) else None
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
        problems.append(f"{at}: expected a source with its `share` of the contrast, 0 to 1, found {given!r}.")
        return {}
    source = {key: value for key, value in given.items() if key != "share"}
    return {"share": float(share)} | named("contrast.mixed_with", source, catalogue.sources(), places, where, problems, path)
