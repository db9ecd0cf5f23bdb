"""The images that a run was made from: how they were read, and which of them come again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.errors import MedoodError
from medood.core.volume import Entry
from medood.data.cache import SELECTING, CachedImages
from medood.data.near_copies import HashedImages, perceptual_hash
from medood.recipe.run import Run
from medood.recipe.run_content import index_in

_HASHES = "hashes.npz"


def reading(run: Run, source: str) -> dict[str, Any]:
    """How the run's own source read, where it is asked for again; which entries it left out does not matter here."""
    name, parameters = run.recipe.choice("source")
    return {key: value for key, value in parameters.items() if key not in ("root", *SELECTING)} if name == source else {}


def write_hashed(folder: Path, train: CachedImages, held_out: CachedImages) -> str:
    """Write the perceptual hashes of the images that a run is made from into its folder; returns the name of the file.

    Entries are numbered as in index.json, the training entries first.
    """
    _hashed(train, held_out).save(folder / _HASHES)
    return _HASHES


def require_same_images(folder: Path, train: CachedImages, held_out: CachedImages) -> None:
    """Raises MedoodError unless the run in the folder was made from these training images and these held-out images, wherever they lie."""
    known, ours = index_in(folder), _hashed(train, held_out)
    theirs = HashedImages.load(folder / _HASHES, [row["id"] for row in known])
    parts = ["train"] * len(train.entries) + ["held_out"] * len(held_out.entries)
    same = list(theirs.ids) == list(ours.ids) and [row["part"] for row in known] == parts and np.array_equal(theirs.owner, ours.owner)
    if not (same and np.array_equal(theirs.hashes, ours.hashes)):
        raise MedoodError(
            f"{folder} was trained or calibrated on other images than this recipe names: members of an ensemble must come from the same "
            "source with the same split and seed."
        )


def _hashed(train: CachedImages, held_out: CachedImages) -> HashedImages:
    parts = train.hashed(), held_out.hashed()
    owner = np.concatenate([parts[0].owner, parts[1].owner + len(parts[0].ids)])
    return HashedImages(np.concatenate([part.hashes for part in parts]), owner, (*parts[0].ids, *parts[1].ids))


def seen_before(run: Run, entries: Sequence[Entry]) -> int:
    """How many entries have the id of a training or held-out entry of the run."""
    known = _ids(run)
    return sum(entry.id in known for entry in entries)


def _ids(run: Run) -> set[str]:
    return {row["id"] for row in index_in(run.folder) if row["images"]}


class SeenImages:
    """The images that a run was trained and calibrated on, to ask of others whether they are among them.

    Raises RunError when the run folder does not tell.
    """

    def __init__(self, run: Run) -> None:
        rows = index_in(run.folder)
        self._ids = _ids(run)
        self._hashed = HashedImages.load(run.folder / _HASHES, [row["id"] for row in rows])
        low, high = run.recipe.transforms.range
        self._spread = high - low

    def mark(self, name: str, images: np.ndarray) -> str:
        """What `seen_in_training` says of the entry `name` with these prepared images: "id", "near_copy", or nothing when it is new."""
        if name in self._ids:
            return "id"
        return "near_copy" if self._hashed.original_of(perceptual_hash(images, self._spread)) is not None else ""
