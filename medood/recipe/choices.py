"""Sections of a recipe that name a card of the catalogue: looked up, checked, and every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import create_model

from medood.recipe import catalogue
from medood.recipe.check import check, nearest
from medood.recipe.literals import Places, place_of


def named(
    section: str,
    values: Mapping[str, Any],
    cards: Mapping[str, catalogue.Card],
    places: Places,
    where: str,
    problems: list[str],
    path: tuple[Any, ...] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A card's parameters with its defaults filled in; a source's `root` is checked when it is opened.

    `more` are keys that the section may have besides, as pydantic's fields.
    """
    path = path or (section,)
    name = values.get("name")
    if not isinstance(name, str) or name not in cards:
        what = f"{place_of((*path, 'name'), places, where)}: {section}.name"
        problems.append(f"{what}: found {name!r}, expected one of {', '.join(cards)}{nearest(str(name), cards) or '.'}")
        return dict(values)
    root = {"root": values["root"]} if cards is catalogue.sources() and "root" in values else {}
    if not isinstance(root.get("root", ""), str):
        at = place_of((*path, "root"), places, where)
        problems.append(f"{at}: {section}.root: found {root['root']!r}, expected the path of a folder as text.")
    given = {k: v for k, v in values.items() if k not in ("name", *root)}
    here = {(): place_of(path, places, where)} | below(places, path)
    allowed = create_model(name, __base__=cards[name].parameters, **more) if more else cards[name].parameters
    model = check(allowed, given, here, where, problems, prefix=section)
    return {"name": name, **root, **(model.model_dump(mode="json") if model else given)}


def checked_steps(path: tuple[str, ...], given: Any, places: Places, where: str, problems: list[str]) -> list[dict[str, Any]]:
    """Each `{name: {parameters}}` with its defaults filled in."""
    resolved: list[dict[str, Any]] = []
    for i, step in enumerate(given if isinstance(given, list) else []):
        at = f"{place_of((*path, i), places, where)}: {path[0]}.{i}"
        if isinstance(step, str):
            step = {step: {}}
        if not isinstance(step, dict) or len(step) != 1:
            problems.append(f"{at}: expected one `name: {{parameters}}`, found {step!r}.")
            continue
        ((name, parameters),) = step.items()
        if not isinstance(parameters or {}, dict) or not isinstance(name, str):
            problems.append(f"{at}: expected `{name}: {{parameters}}`, found {parameters!r}.")
            continue
        flat = {"name": name} | (parameters or {})
        filled = named(f"{path[0]}.{i}", flat, catalogue.steps(), places, where, problems, (*path, i, name))
        resolved.append({name: {k: v for k, v in filled.items() if k != "name"}})
    return resolved


def below(places: Places, path: tuple[Any, ...]) -> Places:
    """The places of what lies below `path`, by the rest of their paths."""
    return {key[len(path) :]: place for key, place in places.items() if key[: len(path)] == path}
