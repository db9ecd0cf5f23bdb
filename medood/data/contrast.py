"""The unlabelled images that normal ones are told from: opened, split by patient and prepared as those are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.console import Console
from medood.core.errors import TrainingError
from medood.core.volume import Entry, Index, Source
from medood.data.cache import Cache, CachedEntry, CachedImages
from medood.data.found import check_found
from medood.data.opening import open_source
from medood.data.patients import some
from medood.data.preparing import prepare
from medood.data.split import Parts, split_contrast
from medood.recipe.contrast import both_sources
from medood.recipe.recipe import Preparation, Recipe
from medood.transforms.pipeline import Pipeline


@dataclass(frozen=True)
class _Pool:
    """One source of the contrast, how it is read, and which of its entries may be used."""

    name: str
    parameters: Mapping[str, Any]
    source: Source
    index: Index
    parts: Parts

    def prepared(self, part: str, pipeline: Pipeline, cache: Path | None, console: Console) -> list[CachedEntry]:
        store = Cache(pipeline, (self.name, self.parameters), cache)
        return prepare(store, self.source, getattr(self.parts, part), "images of the contrast", console)


def contrast_images(
    recipe: Recipe, train: CachedImages, held_out: CachedImages, *, cache: Path | None, console: Console
) -> tuple[Recipe, dict[str, CachedImages]]:
    """The recipe with the folders of its contrast in full, and the images of the parts "contrast" and "contrast_held_out".

    Raises TrainingError when there are none, or when they are those that are trained on. In a folder that holds the normal images too, no
    patient whose normal images are held out is contrasted with.
    """
    recipe = recipe.model_copy(update={"contrast": _in_full(recipe.contrast)})
    assert isinstance(recipe.contrast, dict)
    with console.step("Indexing the contrast"):
        pools = [_opened(section, recipe, held_out) for section in both_sources(recipe.contrast)]
    if len(pools) == 2:
        pools = _in_shares(pools, recipe.contrast["mixed_with"]["share"], recipe.split.seed)
    plan = recipe.contrast.get("transforms")
    pipeline = Pipeline(recipe.transforms if plan is None else Preparation.model_validate(plan))
    parts = {}
    for part, name in (("train", "contrast"), ("held_out", "contrast_held_out")):
        entries = [each for pool in pools for each in pool.prepared(part, pipeline, cache, console)]
        parts[name] = CachedImages(entries, train.class_names)
    if len(parts["contrast"]) == 0:
        found = sum(len(pool.index.entries) for pool in pools)
        raise TrainingError(
            f"The contrast has no image to train with: {found} series or images were found in {pools[0].index.root}; those labelled "
            "anomalous, in the part test, of held-out patients, or of another kind than the transforms take are left out."
        )
    _say(parts["contrast"], parts["contrast_held_out"], train, held_out, console)
    return recipe, parts


def _in_full(section: Any) -> Any:
    """A section of a recipe with the whole paths of its roots."""
    if not isinstance(section, dict):
        return section
    root = {"root": str(Path(section["root"]).resolve())} if section.get("root") is not None else {}
    return {key: _in_full(value) if key == "mixed_with" else value for key, value in section.items()} | root


def _opened(section: Mapping[str, Any], recipe: Recipe, held_out: CachedImages) -> _Pool:
    parameters = {key: value for key, value in section.items() if key not in ("name", "root", "transforms", "mixed_with", "share")}
    root = section.get("root")
    source = open_source(section["name"], root, **parameters)
    index = source.index()
    check_found(index)
    together = root is not None and root == recipe.source.get("root")
    apart = {each.entry.group for each in held_out.entries} if together else set()
    return _Pool(section["name"], parameters, source, index, split_contrast(index, recipe, apart))


def _in_shares(pools: Sequence[_Pool], share: float, seed: int) -> list[_Pool]:
    """As many entries of two pools as there can be, drawn at random, so that those of the second are this share of all."""
    shares = (1 - share, share)
    train = _drawn([pool.parts.train for pool in pools], shares, seed)
    held_out = _drawn([pool.parts.held_out for pool in pools], shares, seed)
    return [replace(pool, parts=Parts(*chosen)) for pool, *chosen in zip(pools, train, held_out, strict=True)]


def _drawn(parts: Sequence[list[Entry]], shares: Sequence[float], seed: int) -> list[list[Entry]]:
    total = min(len(entries) / share for entries, share in zip(parts, shares, strict=True) if share)
    random = np.random.default_rng(seed)
    orders = [random.permutation(len(entries))[: round(total * share)] for entries, share in zip(parts, shares, strict=True)]
    return [[entries[i] for i in sorted(order)] for entries, order in zip(parts, orders, strict=True)]


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
