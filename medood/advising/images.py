"""The images of a trial: a capped number of normal ones to train on, held-out ones, and the same with pasted anomalies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from torch import Tensor

from medood.advising.anomalies import KINDS, SIZES, Kind, Normal, paste
from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Raster
from medood.core.recipe import Preparation
from medood.core.volume import Entry, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.data.cache import CachedEntry, CachedImages
from medood.data.side_by_side import side_by_side
from medood.transforms.pipeline import Pipeline, Prepared

PER_VOLUME = 8
"""Slices that are taken of a volume at least, before more volumes are."""

_REACH_MM = 6.0  # how far maps are smoothed through slices: neighbours that are scored with those that count
_MOST_REACH = 8
_PICTURES, _VOLUMES = 10, 60  # one pasted image of a case for so many images of the trial


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
        usable = _usable(same[0])
        for each in same[1:]:
            usable = np.intersect1d(usable, _usable(each))
        middles = np.arange(share) * len(usable) // share + len(usable) // (2 * share)
        counted = usable[np.unique((middles[:, None] + [-1, 0, 1]).clip(0, len(usable) - 1))] if len(usable) else usable
        for mine, each in zip(shown, same, strict=True):
            mine.append(_shown(each.folder / "images.npy", each.slices, _usable(each), counted, each.raster, each.entry.group))
    return shown


def cases(kinds: Sequence[str]) -> list[tuple[Kind, str]]:
    """Kinds and sizes of anomalies. Raises MedoodError for a kind that is none."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise MedoodError(f"{', '.join(unknown)}: no kind of anomaly that can be pasted; those are {', '.join(KINDS)}.")
    return [(kind, size) for kind in KINDS if not kinds or kind in kinds for size in SIZES]


class Pasting:
    """Pastes anomalies of every case into held-out normal entries and prepares the results in every way, into files below `folder`.

    Patients take turns, and what comes from another image comes from another patient's.
    """

    def __init__(
        self,
        source: Source,
        held_out: CachedImages,
        preparations: dict[str, Preparation],
        what: Sequence[tuple[Kind, str]],
        images: int,
        folder: Path,
        seed: int,
    ) -> None:
        self.source, self.folder, self.seed = source, folder, seed
        self.pipelines = {key: Pipeline(preparation) for key, preparation in preparations.items()}
        self.found = [each for each in held_out.entries if len(_usable(each))]
        volumes = any(each.entry.slices > 1 for each in self.found)
        each_case = max(4, images // _VOLUMES) if volumes else max(8, images // _PICTURES)
        turns = list(islice(cycle(_in_turns(self.found, seed)), each_case * len(what)))
        self.plan = [(*case, owner) for case, owner in zip([case for case in what for _ in range(each_case)], turns, strict=True)]

    def __len__(self) -> int:
        return len(self.plan)

    def run(self, only: int | None = None) -> Iterator[dict[str, Shown]]:
        """For every pasted anomaly what each preparation shows of it, those that show nothing of it left out; only the first ones."""
        yield from side_by_side(self._one, range(len(self.plan) if only is None else min(only, len(self.plan))), workers=2, ahead=4)

    def _one(self, number: int) -> dict[str, Shown]:
        kind, size, owner = self.plan[number]
        random = np.random.default_rng((self.seed, 1, number))
        entry = self.found[owner].entry
        try:
            normal = self._normal(owner)
            pasted = paste(normal, self._other(owner, normal, random), kind, size, random)
        except InputError as error:  # it could be read a moment ago
            raise MedoodError(f"{entry.id} can no longer be read: {error}") from error
        areas = pasted.mask.sum((1, 2))
        if not areas.any():
            return {}
        counted = np.flatnonzero(areas >= 0.5 * areas.max())
        counted = counted[max(0, len(counted) // 2 - 1) : len(counted) // 2 + 2]
        kept = _slab(len(areas), counted, _reach(self.found[owner].raster))
        volume = _cut(pasted.volume, kept)
        made = [pipeline.prepare(volume) for pipeline in self.pipelines.values()]
        for each in made:
            counted = np.intersect1d(counted, kept[each.slices])  # every candidate is asked about the same images
        return (
            {key: self._kept(key, number, each, kept, counted) for key, each in zip(self.pipelines, made, strict=True)}
            if len(counted)
            else {}
        )

    def _kept(self, key: str, number: int, made: Prepared, kept: np.ndarray, counted: np.ndarray) -> Shown:
        """What one preparation shows of an anomaly, in a file."""
        kind, size, owner = self.plan[number]
        found = self.found[owner]
        place = self.folder / f"{number}-{list(self.pipelines).index(key)}.npy"
        one = _shown(place, kept[made.slices], _usable(found), counted, made.raster, found.entry.group, f"{kind}, {size}")
        np.save(place, made.images[one.rows])
        return replace(one, rows=np.arange(len(one.rows)))

    def _normal(self, owner: int) -> Normal:
        """A held-out entry with its body as the first preparation finds it."""
        found = self.found[owner]
        volume = attempt(self.source.read, found.entry)
        if isinstance(volume, Problem):
            raise InputError(volume.message, volume.code)
        body = next(iter(self.pipelines.values())).prepare(volume).body
        return Normal(volume, np.ones(volume.image.shape[1:], bool) if body is None else body, _usable(found))

    def _other(self, owner: int, normal: Normal, random: np.random.Generator) -> Normal:
        """Another patient's image with the same channels, if one of a few that are drawn is such; else the same image mirrored."""
        group = self.found[owner].entry.group
        others = [number for number, each in enumerate(self.found) if each.entry.group != group]
        for number in random.permutation(others)[:3].tolist():
            other = self._normal(number)
            if len(other.volume.image) == len(normal.volume.image):
                return other
        return replace(normal, volume=replace(normal.volume, image=normal.volume.image[..., ::-1]), body=normal.body[..., ::-1])


def _usable(each: CachedEntry) -> np.ndarray:
    """Native numbers of the normal slices."""
    return each.slices[(each.labels == 0) | (each.labels == -1).all()]


def _in_turns(found: Sequence[CachedEntry], seed: int) -> list[int]:
    """Numbers of all entries, one of every patient before the second of any."""
    order = np.random.default_rng((seed, 2)).permutation(len(found)).tolist()
    seen: dict[str, int] = {}
    turn = {}
    for number in order:
        group = found[number].entry.group
        turn[number] = seen[group] = seen.get(group, -1) + 1
    return sorted(order, key=turn.__getitem__)


def _shown(place: Path, slices: np.ndarray, usable: np.ndarray, counted: np.ndarray, raster: Raster, group: str, case: str = "") -> Shown:
    """Of the images of the native `slices` those that count and their usable neighbours."""
    near = np.abs(slices[:, None] - counted).min(1, initial=1 << 30) <= _reach(raster)
    rows = np.flatnonzero(near & np.isin(slices, usable))
    return Shown(place, rows, slices[rows], np.isin(slices[rows], counted), raster, group, case)


def _reach(raster: Raster) -> int:
    """Slices to each side that smoothing through slices takes in."""
    return 0 if raster.slice_mm is None else min(_MOST_REACH, math.ceil(_REACH_MM / raster.slice_mm))


def _slab(slices: int, counted: np.ndarray, reach: int) -> np.ndarray:
    """The slices around those that count, and every fourth of the others, which tell the volume's range of values as well as all do."""
    near = np.arange(max(0, counted[0] - reach), min(slices, counted[-1] + reach + 1))
    return np.union1d(near, np.arange(0, slices, 4))


def _cut(volume: Volume, kept: np.ndarray) -> Volume:
    """Only some of the slices, at the same distances."""
    geometry = replace(volume.geometry, shape=(len(kept), *volume.geometry.shape[1:]))
    return replace(
        volume,
        image=volume.image[:, kept],
        geometry=geometry,
        labels=volume.labels[kept],
        mask=None,
        padding=None if volume.padding is None else volume.padding[kept],
        voi=None if volume.voi is None else [volume.voi[number] for number in kept],
    )
