"""The normal images of a recipe, found, split by patient and prepared."""

from __future__ import annotations

from pathlib import Path

from medood.core.console import Console
from medood.core.errors import TrainingError
from medood.core.files.shelves import cache_limit, keep_within
from medood.core.files.user_folders import default_cache
from medood.core.volume import ChecksTraining
from medood.data.cache import Cache, CachedImages
from medood.data.found import check_found
from medood.data.leaks import leaks
from medood.data.opening import open_source
from medood.data.patients import EACH_ITS_OWN, unnamed
from medood.data.preparing import prepare
from medood.data.split import split
from medood.index.finding import found_by
from medood.recipe.recipe import Recipe
from medood.sources.fetching import named
from medood.transforms.pipeline import Pipeline


def normal_images(
    recipe: Recipe, data: Path | None, cache: Path | None, console: Console, index: str | None = None
) -> tuple[Recipe, dict[str, CachedImages]]:
    """The recipe with the folder that is really used, and the prepared images of the parts train and held_out.

    `index` names an index to know the folder by.
    """
    name, parameters = recipe.choice("source")
    root = parameters.pop("root", None) if data is None else data
    parameters.pop("root", None)
    source = open_source(name, root, **parameters)
    if root is not None:
        recipe = recipe.model_copy(update={"source": {**recipe.source, "root": named(Path(root))}})
    with console.step("Indexing"), found_by(source, Path(root or ""), index, console) as found_there:
        check_found(found_there)
        entries = vars(split(found_there, recipe))
    if isinstance(source, ChecksTraining):
        source.check_training(entries["train"])
    keep_within(cache or default_cache(), cache_limit())
    store = Cache(Pipeline(recipe.transforms), (name, parameters), cache)
    found = {part: prepare(store, source, entries[part], f"{part.replace('_', '-')} images", console) for part in ("train", "held_out")}
    class_names = sorted({each.entry.class_name for each in found["train"] if each.entry.class_name})
    parts = {part: CachedImages(prepared, class_names) for part, prepared in found.items()}
    images, held_out = parts.values()
    _enough(images, held_out)
    groups = len(set(images.groups)), len(set(held_out.groups))
    console.say(f"Training on {len(images)} normal images of {groups[0]} patients; {len(held_out)} of {groups[1]} patients are held out.")
    if unnamed([each.entry for each in images.entries]):
        console.say(EACH_ITS_OWN)
    for warning in leaks(images, held_out):
        console.warn(warning)
    return recipe, parts


def _enough(images: CachedImages, held_out: CachedImages) -> None:
    if len(images) < 2:
        raise TrainingError(
            f"Found {len(images)} normal training image(s), at least 2 are needed. `medood inspect` shows what is in the folder."
        )
    if len(held_out) == 0:
        raise TrainingError("No normal image is left to hold out; raise `split.held_out` or add patients.")
