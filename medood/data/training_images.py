"""The images that a run was made from: how they were read, and which of them come again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.errors import MedoodError
from medood.core.volume import Entry
from medood.data.cache import SELECTING, CachedImages
from medood.data.near_copies import NO_HASHES, HashedImages, perceptual_hash
from medood.recipe.recipe import Recipe
from medood.recipe.run import Run
from medood.recipe.run_content import index_in

_HASHES = "hashes.npz"


def reading(recipe: Recipe, source: str) -> dict[str, Any]:
    """How the run's own source read, where it is asked for again; which entries it left out does not matter here."""
    name, parameters = recipe.choice("source")
    return {key: value for key, value in parameters.items() if key not in ("root", *SELECTING)} if name == source else {}


def write_hashed(folder: Path, parts: Sequence[CachedImages]) -> str:
    """Write the perceptual hashes of the images that a run is made from into its folder; returns the name of the file.

    Entries are numbered as in index.json, part after part.
    """
    _hashed(parts).save(folder / _HASHES)
    return _HASHES


def require_same_images(folder: Path, parts: Mapping[str, CachedImages]) -> None:
    """Raises MedoodError unless the run in the folder was made from the images of these parts, wherever they lie."""
    index, ours = index_in(folder), _hashed(list(parts.values()))
    known = [row for row in index if row["part"] in parts]
    theirs = _first(len(known), HashedImages.load(folder / _HASHES, [row["id"] for row in index]))
    named = [part for part, images in parts.items() for _ in images.entries]
    same = list(theirs.ids) == list(ours.ids) and [row["part"] for row in known] == named and np.array_equal(theirs.owner, ours.owner)
    if not (same and np.array_equal(theirs.hashes, ours.hashes)):
        raise MedoodError(
            f"{folder} was trained or calibrated on other images than this recipe names: members of an ensemble must come from the same "
            "source with the same split and seed."
        )


def _hashed(parts: Sequence[CachedImages]) -> HashedImages:
    hashed = [part.hashed() for part in parts]
    starts = np.cumsum([0, *(len(part.ids) for part in hashed)])
    owner = np.concatenate([part.owner + start for part, start in zip(hashed, starts, strict=False)])
    return HashedImages(np.concatenate([part.hashes for part in hashed]), owner, tuple(name for part in hashed for name in part.ids))


def _first(count: int, hashed: HashedImages) -> HashedImages:
    """Those of the first entries."""
    of_them = hashed.owner < count
    return HashedImages(hashed.hashes[of_them], hashed.owner[of_them], hashed.ids[:count])


def seen_before(run: Run, entries: Sequence[Entry]) -> int:
    """How many entries have the id of a training or held-out entry of the run."""
    known = _ids(run)
    return sum(entry.id in known for entry in entries)


def _ids(run: Run) -> set[str]:
    """Those of the folder that was trained on: another folder, that of the contrast, has names of its own."""
    return {row["id"] for row in index_in(run.folder) if row["images"] and not row["part"].startswith("contrast")}


class SeenImages:
    """The images that a run was trained, calibrated or contrasted with, to ask of others whether they are among them.

    Raises RunError when the run folder does not tell.
    """

    def __init__(self, run: Run) -> None:
        rows = index_in(run.folder)
        self._ids = _ids(run)
        self._hashed = HashedImages.load(run.folder / _HASHES, [row["id"] for row in rows])
        low, high = run.recipe.transforms.range
        self._spread = high - low

    def originals(self, images: np.ndarray) -> np.ndarray:
        """(n,) which entry of the run each of (n, channels, height, width) prepared images is a near-copy of, by number; -1: of none."""
        return self._hashed.owners_of_originals(perceptual_hash(images, self._spread) if len(images) else NO_HASHES)

    def mark(self, name: str, originals: np.ndarray) -> str:
        """What `seen_in_training` says of the entry `name` with these `originals`: "id", "near_copy", or nothing when it is new."""
        if name in self._ids:
            return "id"
        return "near_copy" if self._hashed.original_of(originals) is not None else ""
