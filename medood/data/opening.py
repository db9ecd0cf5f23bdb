"""Opening a source by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medood.core.errors import MedoodError, RecipeError
from medood.core.volume import Source
from medood.recipe import catalogue
from medood.recipe.check import check, nearest
from medood.recipe.numbers import is_numbers
from medood.recipe.recipe import Recipe
from medood.sources.numbers import Numbers


def with_columns(recipe: Recipe, data: Path | None) -> Recipe:
    """The recipe with the columns of its table, if its source is one and it does not name them; a contrast has the same columns."""
    if not is_numbers(recipe.source):
        return recipe
    name, parameters = recipe.choice("source")
    root = parameters.pop("root", None)
    source = open_source(name, data or root, **parameters)
    assert isinstance(source, Numbers)
    columns = parameters["columns"] or list(source.number_columns())
    changes: dict[str, Any] = {
        "source": {**recipe.source, "columns": columns},
        "transforms": recipe.transforms.model_copy(update={"channels": len(columns)}),
    }
    if isinstance(recipe.contrast, dict):
        changes["contrast"] = {**recipe.contrast, "columns": columns}
    return recipe.model_copy(update=changes)


def open_source(name: str, root: str | Path | None, **parameters: Any) -> Source:
    """The source `name` on the folder `root`. Raises MedoodError when there is no such source or folder, or a parameter is wrong."""
    cards = catalogue.sources()
    if name not in cards:
        raise MedoodError(f"There is no source called {name!r}{nearest(name, cards) or '.'} Known: {', '.join(cards)}.")
    problems: list[str] = []
    model = check(cards[name].parameters, parameters, {}, f"source {name}", problems)
    if model is None:
        raise RecipeError(problems)
    if name != "phantom" and (root is None or not Path(root).exists()):
        what = "no folder was given: name it with --data FOLDER" if root is None else f"there is no {root}"
        raise MedoodError(f"The source {name!r} needs the folder of its images, but {what}.")
    return cards[name].load()(Path(root) if root is not None else Path(), **model.model_dump())
