"""The unlabelled images that normal ones are told from: opened, split by patient and prepared as those are."""

from __future__ import annotations

from pathlib import Path

from medood.core.console import Console
from medood.core.errors import TrainingError
from medood.core.volume import Entry
from medood.data.cache import Cache, CachedEntry, CachedImages
from medood.data.found import check_found
from medood.data.opening import open_source
from medood.data.patients import some
from medood.data.preparing import prepare
from medood.data.split import split_contrast
from medood.recipe.recipe import Preparation, Recipe
from medood.transforms.pipeline import Pipeline


def contrast_images(
    recipe: Recipe, train: CachedImages, held_out: CachedImages, *, cache: Path | None, console: Console
) -> tuple[Recipe, dict[str, CachedImages]]:
    """The recipe with the folder of its contrast in full, and the images of the parts "contrast" and "contrast_held_out".

    Raises TrainingError when there are none, or when they are those that are trained on. In a folder that holds the normal images too, no
    patient whose normal images are held out is contrasted with.
    """
    assert isinstance(recipe.contrast, dict)
    parameters = dict(recipe.contrast)
    name, root, plan = parameters.pop("name"), parameters.pop("root", None), parameters.pop("transforms", None)
    source = open_source(name, root, **parameters)
    if root is not None:
        root = str(Path(root).resolve())
        recipe = recipe.model_copy(update={"contrast": {**recipe.contrast, "root": root}})
    with console.step("Indexing the contrast"):
        index = source.index()
    check_found(index)
    together = root is not None and root == recipe.source.get("root")
    apart = {each.entry.group for each in held_out.entries} if together else set()
    pipeline = Pipeline(recipe.transforms if plan is None else Preparation.model_validate(plan))
    store = Cache(pipeline, (name, parameters), cache)
    found = vars(split_contrast(index, recipe, apart))
    parts = {
        f"contrast{suffix}": CachedImages(prepare(store, source, found[part], "images of the contrast", console), train.class_names)
        for part, suffix in (("train", ""), ("held_out", "_held_out"))
    }
    images = parts["contrast"]
    if len(images) == 0:
        raise TrainingError(
            f"The contrast has no image to train with: {len(index.entries)} series or images were found in {index.root}; those labelled "
            "anomalous, in the part test, of held-out patients, or of another kind than the transforms take are left out."
        )
    _say(images, parts["contrast_held_out"], train, held_out, console)
    return recipe, parts


def _say(images: CachedImages, more: CachedImages, train: CachedImages, held_out: CachedImages, console: Console) -> None:
    """How many there are, and which of them are normal images too. Raises TrainingError when all are."""
    same, copies = _shared(images, train), _shared(images, held_out)
    if len({*same, *copies}) == len(images.entries):
        raise TrainingError(
            "The contrast is the training set itself, and nothing can be told from itself: name other images under `contrast`."
        )
    console.say(f"Contrasted with {len(images)} unlabelled images; {len(more)} more are held out, of other patients.")
    if same:
        share = len(same) / len(images.entries)
        console.say(
            f"{len(same)} of {len(images.entries)} series or images of the contrast ({share:.0%}) are training images too: {some(same)}. "
            "That is allowed; they only take away from what the contrast can show."
        )
    if copies:
        console.warn(
            f"{len(copies)} series or images of the contrast are held-out normal images: {some(copies)}. The detector learns to call them "
            "unlike the normal ones, so that its threshold will be too high: take them out of the contrast."
        )


def _shared(images: CachedImages, others: CachedImages) -> list[str]:
    """Ids of entries that are the same files as some of the others, or nearly the same pictures."""
    files = {_files(each) for each in others.entries}
    copies = others.hashed().originals(images.hashed())
    return sorted(each.entry.id for each in images.entries if each.entry.id in copies or (each.entry.files and _files(each) in files))


def _files(each: CachedEntry) -> tuple[str, tuple[Path, ...]]:
    """What an entry is made of; a file may hold several."""
    entry: Entry = each.entry
    return entry.id.rpartition("/")[2], tuple(path.resolve() for path in entry.files)
