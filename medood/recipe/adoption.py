"""Detectors of trained runs as members of a new one, which keeps copies of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medood.core.errors import MedoodError
from medood.recipe.recipe import Recipe
from medood.recipe.run import load_run, recipe_of


def with_runs(recipe: Recipe) -> Recipe:
    """The recipe with the members that its runs hold, as if it had listed them itself; unchanged when it names no runs.

    Raises RunError for a folder that holds no run, MedoodError for one that was made from images prepared in another way.
    """
    folders = _folders(recipe)
    if not folders:
        return recipe
    recipes = [recipe_of(folder) for folder in folders]
    for folder, other in zip(folders, recipes, strict=True):
        _require_alike(recipe, folder, other)
    members = []
    for label, other in zip(_labels(folders, recipes), recipes, strict=True):
        name, parameters = other.choice("detector")
        members.append({"name": name, "label": label, **({"features": other.features} if other.features else {}), **parameters})
    return recipe.model_copy(update={"detector": {**recipe.detector, "members": members}})


def adopt_weights(detector: Any, recipe: Recipe) -> None:
    """Copy what the recipe's runs have learnt into the members of a detector that was built from it."""
    for folder, member in zip(_folders(recipe), detector.members if _folders(recipe) else (), strict=True):
        member.load_state_dict(load_run(folder).detector.state_dict())


def _folders(recipe: Recipe) -> list[Path]:
    return [Path(folder) for folder in recipe.detector.get("runs", [])]


def _require_alike(recipe: Recipe, folder: Path, other: Recipe) -> None:
    if "members" in other.detector:
        raise MedoodError(f"{folder} is an ensemble itself: name the runs or list the members that it was made of.")
    if other.occlusion is not None:
        raise MedoodError(f"{folder} has a map by occlusion, which a member of an ensemble cannot have: train it without `occlusion`.")
    ours, theirs = (each.transforms.model_dump(mode="json", exclude={"summary"}) for each in (recipe, other))
    if changed := [key for key in ours if ours[key] != theirs[key]]:
        raise MedoodError(
            f"{folder} was trained with other transforms than this recipe has ({', '.join(changed)}): members of an ensemble must see the "
            "same images."
        )


def _labels(folders: Sequence[Path], recipes: Sequence[Recipe]) -> list[str]:
    """The names of the detectors or, where those are not different, of the folders, else both with a number."""
    names = [recipe.detector["name"] for recipe in recipes]
    places = [re.sub(r"[^A-Za-z0-9_-]+", "_", folder.resolve().name) for folder in folders]
    numbered = [f"{name}_{number}" for number, name in enumerate(names, 1)]
    return next(labels for labels in (names, places, numbered) if len(set(labels)) == len(labels))
