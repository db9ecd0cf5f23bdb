"""Single values of a recipe changed on the command line: `--set key.key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from medood.core.errors import RecipeError
from medood.recipe.literals import Places, parse_value

Known = Callable[[Mapping[str, Any]], Mapping[str, Sequence[str]]]
"""`known(values)`: the keys of each section by its name, those of the file itself by ""; of other sections nothing is known."""


def apply_changes(values: dict[str, Any], places: Places, changes: Sequence[str], known: Known) -> list[str]:
    """Set the values that "key.key=value" name, and say in `places` that they come from there. Returns a sentence for every mistake."""
    problems: list[str] = []
    parsed = []
    for change in changes:
        try:
            parsed.append((change, *_parsed(change)))
        except RecipeError as error:
            problems += error.problems
    trial = deepcopy(values)  # which keys there are depends on the detector and the source that the changes choose
    for _, path, value in parsed:
        _put(trial, path, value)
    sections = known(trial)
    for change, path, value in parsed:
        wrong = _unknown(path, sections) or _put(values, path, value)
        if wrong:
            problems.append(f"--set {change}: {wrong}")
            continue
        for key in [key for key in places if key[: len(path)] == path]:
            del places[key]
        places[path] = "--set"
    return problems


def _parsed(change: str) -> tuple[tuple[str, ...], Any]:
    key, equals, text = change.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise RecipeError([f"--set {change}: expected key=value, such as training.epochs=5."])
    return path, parse_value(text)


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> str:
    """Set one value, or say why that cannot be."""
    place = values
    for parent in path[:-1]:
        inner = place.get(parent)
        if isinstance(inner, str) and parent == "transforms":
            inner = {"name": inner}
        if inner is not None and not isinstance(inner, dict):
            return f"{parent} is a {'list' if isinstance(inner, list) else 'single value'} and has no keys: set it as a whole."
        place[parent] = place = dict(inner or {})
    place[path[-1]] = value
    return ""


def _unknown(path: Sequence[str], sections: Mapping[str, Sequence[str]]) -> str:
    """Why there is no such key, with the nearest that there is, or nothing. Deeper keys, such as a phase's epochs, are free."""
    section = path[0] if len(path) > 1 and path[0] in sections else ""
    if path[bool(section)] in sections[section]:
        return ""
    dotted = [f"{part}.{key}" if part else key for part, keys in sections.items() if part or len(path) == 1 for key in keys]
    near = _nearest(".".join(path), dotted)
    known = ", ".join(f"{section}.{key}" if section else key for key in sections[section])
    return f"there is no such key; {f'did you mean {near}?' if near else f'there are {known}.'}"


def _nearest(asked: str, dotted: Sequence[str]) -> str:
    """The key that looks almost like the one asked for, else those of the same last part in whichever section, else one nearly so."""

    def last(key: str) -> str:
        return key.rpartition(".")[2]

    if close := difflib.get_close_matches(asked, dotted, n=1, cutoff=0.75):
        return close[0]
    names = difflib.get_close_matches(last(asked), [last(key) for key in dotted], n=1)
    *others, final = [key for key in dotted if last(key) in names] or [""]
    return f"{', '.join(others)} or {final}" if others else final
