"""What detectors work on: the features of a detector, and the members of one that is made of others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from medood.recipe import catalogue
from medood.recipe.choices import named
from medood.recipe.literals import Places, place_of

DEFAULT_FEATURES = "efficientnet_lite0"
"""What a detector works on that needs features, in a recipe that names none."""

_MORE: Mapping[str, Any] = {"label": (str | None, None), "features": (dict[str, Any] | None, None)}
"""What a member may say besides the parameters of its detector."""

_LABEL = re.compile(r"[A-Za-z0-9_-]+")


def with_features(
    values: Mapping[str, Any], places: Places, where: str, problems: list[str]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The sections `detector` and `features` of a recipe with the defaults of features and members filled in.

    The features of a detector with members are in the end its members' own.
    """
    given, detector = values.get("features"), values.get("detector")
    name = detector.get("name") if isinstance(detector, dict) else None
    card = catalogue.detectors().get(name) if isinstance(name, str) else None
    if not isinstance(given, dict | None) or not isinstance(detector, dict) or card is None:
        return detector, None  # reported elsewhere
    if not card.takes_members:
        return detector, _features(card, given, None, places, where, problems, ("features",))
    common = None if given is None else _checked_features(given, places, where, problems, ("features",))
    members = checked_members(detector, common, places, where, problems)
    if members is None:
        return detector, None
    if common is not None and not any(member.get("features") == common for member in members):
        at = place_of(("features",), places, where)
        problems.append(f"{at}: features: no member works on them: leave them out, or give none of its own to a member that needs some.")
    return {**detector, "members": members}, None


def checked_members(
    detector: Mapping[str, Any], common: dict[str, Any] | None, places: Places, where: str, problems: list[str]
) -> list[dict[str, Any]] | None:
    """The members of a detector with their defaults filled in: name, label, features if they work on any, parameters.

    common  features of those that need some and name none
    """
    given, runs = detector.get("members", []), detector.get("runs", [])
    if not isinstance(given, list) or not isinstance(runs, list) or not all(isinstance(member, dict) for member in given):
        return None  # reported elsewhere
    at = f"{place_of(('detector', 'members' if given else 'runs'), places, where)}: detector"
    if len(given if given or not runs else runs) < 2:
        problems.append(
            f"{at}: found {len(given or runs)}, expected at least two `members`, or at least two `runs` that are trained already."
        )
    if given and runs and len(given) != len(runs):
        problems.append(
            f"{at}: found {len(given)} `members` beside {len(runs)} `runs`; the members of runs are those of the runs: leave them out."
        )
    members = [_member(number, member, common, places, where, problems) for number, member in enumerate(given)]
    labels = [member.get("label") for member in members]
    for number, label in enumerate(labels):
        if label and label in labels[:number]:
            at = f"{place_of(('detector', 'members', number), places, where)}: detector.members.{number}"
            problems.append(f"{at}: {label!r} is the name of another member too: give it a `label` of its own.")
    return members


def _member(number: int, given: Any, common: dict[str, Any] | None, places: Places, where: str, problems: list[str]) -> dict[str, Any]:
    """One member with its defaults filled in; its label is the name of its detector unless it has another."""
    path = ("detector", "members", number)
    section = f"detector.members.{number}"
    cards = {name: card for name, card in catalogue.detectors().items() if not card.takes_members}
    found = named(section, given, cards, places, where, problems, path, _MORE)
    card = cards.get(found["name"]) if isinstance(found.get("name"), str) else None
    if card is None:
        return found
    label, own = found.pop("label", None) or card.name, found.pop("features", None)
    if not isinstance(label, str) or not _LABEL.fullmatch(label) or label == "detector":
        at = f"{place_of((*path, 'label'), places, where)}: {section}.label"
        problems.append(f"{at}: found {label!r}, expected a word of letters, digits, - and _, other than 'detector'.")
    if isinstance(own, dict | None):
        own = _features(card, own, common, places, where, problems, (*path, "features"))
    return {"name": found.pop("name"), "label": label, **({"features": own} if own else {}), **found}


def _features(
    card: catalogue.Card,
    given: dict[str, Any] | None,
    common: dict[str, Any] | None,
    places: Places,
    where: str,
    problems: list[str],
    path: tuple[Any, ...],
) -> dict[str, Any] | None:
    """What a detector works on, with the defaults filled in, or None when it works on the images themselves."""
    if given is not None and card.features == "none":
        takers = ", ".join(name for name, other in catalogue.detectors().items() if other.features != "none")
        at = f"{place_of(path, places, where)}: {'.'.join(map(str, path))}"
        problems.append(f"{at}: {card.name} works on none; leave them out, or take one of the detectors {takers}.")
        return None
    if given is None and common is not None and card.features == "required":
        return common
    if given is None and card.features != "required":
        return None
    return _checked_features(given or {}, places, where, problems, path)


def _checked_features(given: Mapping[str, Any], places: Places, where: str, problems: list[str], path: tuple[Any, ...]) -> dict[str, Any]:
    section = ".".join(map(str, path))
    return named(section, {"name": DEFAULT_FEATURES} | dict(given), catalogue.features(), places, where, problems, path)
