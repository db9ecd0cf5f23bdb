"""Cohorts of a benchmark in which each class is the normal one once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medood.recipe.literals import Places, place_of

EACH_NORMAL = "each_normal"
"""The key of a cohort that lists its classes."""

Turns = dict[str, tuple[str, ...]]
"""The names of the cohorts that a cohort stands for, one for each class, by its own name."""


def by_turns(
    cohorts: Mapping[str, dict[str, Any]], places: Places, where: str, problems: list[str]
) -> tuple[dict[str, dict[str, Any]], Turns]:
    """The cohorts, those with `each_normal` replaced by one for each class, "COHORT, CLASS", and the names of those.

    `each_normal` is {class: keys of the source that make it the normal one}, or a list of values for the key `normal`. `places` gains the
    lines of the new names. A mistake adds a sentence to `problems`.
    """
    found: dict[str, dict[str, Any]] = {}
    turns: Turns = {}
    for name, block in cohorts.items():
        if EACH_NORMAL not in block:
            found[name] = block
            continue
        classes, shared = _classes(block[EACH_NORMAL]), {key: value for key, value in block.items() if key != EACH_NORMAL}
        source = shared.get("source")
        if classes is None or not isinstance(source, Mapping):
            line = place_of(("cohorts", name, EACH_NORMAL), places, where)
            problems.append(
                f"{line}: cohorts.{name}.{EACH_NORMAL}: expected two classes or more, as a list of values of `source.normal` or as "
                f"{{class: keys of the source}}, beside a `source`; found {block[EACH_NORMAL]!r}."
            )
            continue
        for label, keys in classes.items():
            each = f"{name}, {label}"
            found[each] = shared | {"source": {**source, **keys}}
            places |= {("cohorts", each, *key[2:]): at for key, at in places.items() if key[:2] == ("cohorts", name)}
        turns[name] = tuple(f"{name}, {label}" for label in classes)
    return found, turns


def _classes(given: Any) -> dict[str, Mapping[str, Any]] | None:
    """What each class changes in the source, by its name; None for what cannot be read so."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        classes: dict[str, Mapping[str, Any]] = {str(value): {"normal": value} for value in given}
        return classes if 1 < len(classes) == len(given) else None
    if isinstance(given, Mapping) and len(given) > 1 and all(isinstance(keys, Mapping) and keys for keys in given.values()):
        return {str(name): keys for name, keys in given.items()}
    return None
