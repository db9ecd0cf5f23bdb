"""The images that a run was made from: how they were read, and which of them come again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.run import Run
from medood.core.run_content import index_in
from medood.core.volume import Entry
from medood.data.cache import SELECTING, CachedImages
from medood.data.near_copies import HashedImages

_HASHES = "hashes.npz"


def reading(run: Run, source: str) -> dict[str, Any]:
    """How the run's own source read, where it is asked for again; which entries it left out does not matter here."""
    name, parameters = run.recipe.choice("source")
    return {key: value for key, value in parameters.items() if key not in ("root", *SELECTING)} if name == source else {}


def seen_before(run: Run, entries: Sequence[Entry]) -> int:
    """How many entries have the id of a training or held-out entry of the run."""
    known = {row["id"] for row in index_in(run.folder) if row["images"]}
    return sum(entry.id in known for entry in entries)


def write_hashed(folder: Path, train: CachedImages, held_out: CachedImages) -> str:
    """Write the perceptual hashes of the images that a run is made from into its folder; returns the name of the file.

    Entries are numbered as in index.json, the training entries first.
    """
    parts = train.hashed(), held_out.hashed()
    owner = np.concatenate([parts[0].owner, parts[1].owner + len(parts[0].ids)])
    HashedImages(np.concatenate([part.hashes for part in parts]), owner, (*parts[0].ids, *parts[1].ids)).save(folder / _HASHES)
    return _HASHES


def copies_of_training(run: Run) -> HashedImages:
    """The images that the run was trained and calibrated on, to be asked for the original of an image: `original_of(hashes)`."""
    return HashedImages.load(run.folder / _HASHES, [row["id"] for row in index_in(run.folder)])
