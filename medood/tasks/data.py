"""Opening sources, and preparing their entries ahead of who needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from medood.core import catalogue
from medood.core.check import check, nearest
from medood.core.errors import MedoodError, RecipeError
from medood.core.volume import Source

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int) -> Iterator[Result]:
    """`map` in threads that keeps the order and holds at most `ahead` results: reading overlaps with what the caller does."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
