"""Opening a source by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medood.core.errors import MedoodError, RecipeError
from medood.core.volume import Source
from medood.recipe import catalogue
from medood.recipe.check import check, nearest


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
