"""Recipes and transforms files read and checked against what exists, all mistakes at once.

Resolving a recipe puts the content of its transforms file into it and every default beside what was given, so that the run that keeps it is
complete by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medood.core.errors import RecipeError
from medood.recipe import catalogue
from medood.recipe.changes import apply_changes
from medood.recipe.check import check, nearest
from medood.recipe.choices import below, checked_steps, named
from medood.recipe.contrast import checked_contrast
from medood.recipe.literals import Places, place_of, read_literals
from medood.recipe.members import with_features
from medood.recipe.numbers import for_numbers, wrong_for_numbers
from medood.recipe.recipe import (
    CalibrationPlan,
    OcclusionPlan,
    Pooling,
    Preparation,
    Pretraining,
    Recipe,
    Scoring,
    Split,
    Training,
)

_PACKAGE = Path(__file__).parent.parent


def load_recipe(name: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read, check and resolve a recipe by file name or by its name alone (`brats_patchgan`).

    `changes` are "key.key=value" strings that replace single values. Raises RecipeError with every mistake found.
    """
    path = find_file(name, "recipes")
    values, places = read_literals(path)
    problems = apply_changes(values, places, changes, known_keys)
    return resolve(values, places, str(path), problems)


def known_keys(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """What each section of a recipe may hold, by its name; "" has the sections and single values. No section of an unknown card."""
    sections: dict[str, Any] = {
        "split": Split,
        "training": Training,
        "calibration": CalibrationPlan,
        "pooling": Pooling,
        "occlusion": OcclusionPlan,
        "scoring": Scoring,
        "pretraining": Pretraining,
    }
    found = {"": list(Recipe.model_fields), "transforms": ["name", *Preparation.model_fields]}
    found |= {name: list(section.model_fields) for name, section in sections.items()}
    named = (
        ("source", catalogue.sources(), ["name", "root"]),
        ("contrast", catalogue.sources(), ["name", "root", "transforms", "mixed_with"]),
        ("detector", catalogue.detectors(), ["name"]),
        ("features", catalogue.features(), ["name"]),
    )
    for section, cards, more in named:
        chosen = values.get(section)
        name = chosen.get("name") if isinstance(chosen, Mapping) else None
        if isinstance(name, str) and name in cards:
            found[section] = [*more, *cards[name].parameters.model_fields]
    return found


def resolve(values: Mapping[str, Any], places: Places, where: str, problems: Sequence[str] = ()) -> Recipe:
    """The recipe with every default beside what was given. Raises RecipeError with every mistake, and with the `problems` found before."""
    problems, values = list(problems), for_numbers(dict(values))
    values["transforms"] = _transforms(values.get("transforms"), places, where, problems)
    problems += wrong_for_numbers(values, lambda key: f"{place_of((key,), places, where)}: {key}")
    recipe = check(Recipe, values, places, where, problems, skip="transforms")
    for section in ("source", "detector"):
        cards = catalogue.sources() if section == "source" else catalogue.detectors()
        if isinstance(values.get(section), dict):
            values[section] = named(section, values[section], cards, places, where, problems)
    values["detector"], values["features"] = with_features(values, places, where, problems)
    given = values.get("contrast")
    own = given.get("transforms") if isinstance(given, Mapping) else None
    plan = None if own is None else _transforms(own, places, where, problems, ("contrast", "transforms"))
    values["contrast"] = checked_contrast(values, plan, places, where, problems)
    values["augment"] = checked_steps(("augment",), values.get("augment", []), places, where, problems)
    if problems:
        raise RecipeError(problems)
    assert recipe is not None
    return recipe.model_copy(update={k: values[k] for k in ("source", "detector", "contrast", "features", "augment", "transforms")})


def load_preparation(name: str | Path, changes: Sequence[str] = ()) -> Preparation:
    """Read and check a transforms file by file name or by its name alone; `changes` as for a recipe, of the file's own keys."""
    content: dict[str, Any] = {"name": str(name)}
    places: Places = {}
    problems = apply_changes(content, places, changes, lambda _: {"": list(Preparation.model_fields)})
    at_home: Places = {("transforms", *path): place for path, place in places.items()}
    preparation = _transforms(content, at_home, str(name), problems)
    if problems:
        raise RecipeError(problems)
    return preparation


def find_file(name: str | Path, folder: str, beside: Path | None = None) -> Path:
    """A YAML file by path, also relative to the folder `beside`, or by its bare name among those that come with medood."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        for place in (path, *([beside / path] if beside else [])):
            if place.is_file():
                return place
        raise RecipeError([f"{path}: there is no such file."])
    known = {place.stem: place for place in shipped(folder)}
    if str(name) in known:
        return known[str(name)]
    near = nearest(str(name), known) or "."
    raise RecipeError([f"{name}: not one of the {folder} that come with medood ({', '.join(known)}), and not a .yaml file{near}"])


def shipped(folder: str) -> list[Path]:
    """The YAML files that come with medood. The checkout wins over the installed copy, which an editable install leaves stale."""
    beside, inside = _PACKAGE.parent / folder, _PACKAGE / folder
    checkout = (_PACKAGE.parent / "pyproject.toml").is_file() and beside.is_dir()
    return sorted((beside if checkout else inside).glob("*.yaml"))


def _transforms(given: Any, places: Places, where: str, problems: list[str], path: tuple[str, ...] = ("transforms",)) -> Any:
    """The Preparation that a recipe's `transforms` names, with the recipe's own changes to it; `path` is where in the recipe."""
    at = f"{place_of(path, places, where)}: {'.'.join(path)}"
    changes = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = changes.pop("name", None)
    if not isinstance(name, str):
        if {"steps", "summary"} <= changes.keys():  # a resolved recipe brings the whole content
            content, origin, content_places = changes, where, below(places, path)
        else:
            problems.append(f"{at}: expected the name of a transforms file or a mapping with its `name`, found {given!r}.")
            return None
    else:
        try:
            file = find_file(name, "transforms", beside=Path(where).parent)
            content, content_places = read_literals(file)
        except RecipeError as error:
            problems.extend(f"{at}: {problem}" for problem in error.problems)
            return None
        content, origin = content | changes, str(file)
        for key in changes:  # those of the recipe stand in the recipe
            content_places = {at: place for at, place in content_places.items() if at[:1] != (key,)}
        content_places |= {at: f"{place}: {'.'.join(path)}" for at, place in below(places, path).items() if at}
    content = {key: _both_sides(key, value) for key, value in content.items()}
    preparation = check(Preparation, content, content_places, origin, problems)
    steps = checked_steps(("steps",), content.get("steps", []), content_places, origin, problems)
    return preparation.model_copy(update={"steps": steps}) if preparation else None


def _both_sides(key: str, value: Any) -> Any:
    """One number for a size stands for height and width."""
    return [value, value] if key in ("size", "field_of_view") and type(value) in (int, float) else value


def check_source(values: Any, places: Places, where: str, path: tuple[Any, ...], problems: list[str]) -> dict[str, Any]:
    """A source with its defaults filled in; what is wrong with it is appended to `problems`."""
    if isinstance(values, dict):
        return named(".".join(map(str, path)), values, catalogue.sources(), places, where, problems, path)
    problems.append(f"{place_of(path, places, where)}: {'.'.join(map(str, path))}: expected a mapping with a `name`, found {values!r}.")
    return {}


def check_steps(steps: Sequence[Any], where: str) -> list[dict[str, Any]]:
    """Steps with their defaults filled in, from outside a file. Raises RecipeError with every mistake; `where` names the place."""
    problems: list[str] = []
    resolved = checked_steps(("augment",), list(steps), {}, where, problems)
    if problems:
        raise RecipeError(problems)
    return resolved
