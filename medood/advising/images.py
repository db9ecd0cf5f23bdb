"""The images of a trial: a capped number of normal ones to train on, held-out ones, and the same with pasted anomalies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from medood.core.geometry import Raster
from medood.core.volume import Entry
from medood.data.cache import CachedEntry, CachedImages

PER_VOLUME = 8
"""Slices that are taken of a volume at least, before more volumes are."""

_REACH_MM = 6.0  # how far maps are smoothed through slices: neighbours that are scored with those that count
_MOST_REACH = 8


@dataclass(frozen=True, eq=False)
class Shown:
    """Images of one entry as one preparation shows them, and those of them that count.

    place    .npy file of images (m, channels, height, width);  rows  (n,) of them
    slices   (n,) native numbers;  counted  bool (n,); the others are neighbours that smoothing reaches
    case     "" for normal images, else kind and size of the anomaly: "bright, small"
    """

    place: Path
    rows: np.ndarray
    slices: np.ndarray
    counted: np.ndarray
    raster: Raster
    group: str
    case: str = ""

    def images(self) -> np.ndarray:
        return np.load(self.place, mmap_mode="r")[self.rows]


@dataclass(frozen=True, eq=False)
class Some:
    """Some of many images, as the trainer reads them."""

    images: CachedImages
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def gather(self, numbers: np.ndarray) -> Tensor:
        return self.images.gather(self.numbers[numbers])


def drawn(entries: Sequence[Entry], images: int, seed: int) -> list[Entry]:
    """Entries of about so many images, patients in an order that the seed decides: whole pictures, or volumes of a few slices each."""
    single = all(entry.slices == 1 for entry in entries)
    most = images if single else max(4, images // PER_VOLUME)
    order = np.random.default_rng(seed).permutation(len(entries))
    return [entries[number] for number in sorted(order[:most])]


def thinned(images: CachedImages, most: int) -> Some:
    """At most so many, evenly spaced over all entries and slices."""
    count = min(len(images), most)
    return Some(images, np.arange(count) * len(images) // max(count, 1))


def normals(found: Sequence[CachedImages], most: int) -> list[list[Shown]]:
    """Held-out normal images as each preparation shows them, the same ones of all: of every entry slices in threes, as lesions show on
    neighbours, evenly spaced; about `most` that count."""
    share = max(1, math.ceil(most / max(len(found[0].entries), 1) / 3))
    shown: list[list[Shown]] = [[] for _ in found]
    for same in zip(*(images.entries for images in found), strict=True):
        usable = usable_slices(same[0])
        for each in same[1:]:
            usable = np.intersect1d(usable, usable_slices(each))
        middles = np.arange(share) * len(usable) // share + len(usable) // (2 * share)
        counted = usable[np.unique((middles[:, None] + [-1, 0, 1]).clip(0, len(usable) - 1))] if len(usable) else usable
        for mine, each in zip(shown, same, strict=True):
            mine.append(shown_around(each.folder / "images.npy", each.slices, usable_slices(each), counted, each.raster, each.entry.group))
    return shown


def usable_slices(each: CachedEntry) -> np.ndarray:
    """Native numbers of the normal slices."""
    return each.slices[(each.labels == 0) | (each.labels == -1).all()]


def shown_around(
    place: Path, slices: np.ndarray, usable: np.ndarray, counted: np.ndarray, raster: Raster, group: str, case: str = ""
) -> Shown:
    """Of the images of the native `slices` those that count and their usable neighbours."""
    near = np.abs(slices[:, None] - counted).min(1, initial=1 << 30) <= slices_in_reach(raster)
    rows = np.flatnonzero(near & np.isin(slices, usable))
    return Shown(place, rows, slices[rows], np.isin(slices[rows], counted), raster, group, case)


def slices_in_reach(raster: Raster) -> int:
    """Slices to each side that smoothing through slices takes in."""
    return 0 if raster.slice_mm is None else min(_MOST_REACH, math.ceil(_REACH_MM / raster.slice_mm))
