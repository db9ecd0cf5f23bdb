"""Held-out normal entries with anomalies, as every preparation shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from medood.advising.anomalies import Kind, Normal, paste
from medood.advising.images import Shown, shown_around, slices_in_reach, usable_slices
from medood.core.errors import InputError, MedoodError
from medood.core.volume import Problem, Source, Volume
from medood.data.attempt import attempt
from medood.data.cache import CachedEntry, CachedImages
from medood.data.side_by_side import side_by_side
from medood.recipe.recipe import Preparation
from medood.transforms.pipeline import Pipeline, Prepared

_PICTURES, _VOLUMES = 15, 75  # one pasted anomaly of a case for so many images of the trial
_MOST_BYTES = 5e8  # of decoded entries that are kept


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
        self.found = [each for each in held_out.entries if len(usable_slices(each))]
        self._normal = lru_cache(self._fit_in_memory())(self._read)
        volumes = any(each.entry.slices > 1 for each in self.found)
        each_case = max(4, images // _VOLUMES) if volumes else max(8, images // _PICTURES)
        turns = list(islice(cycle(_in_turns(self.found, seed)), each_case * len(what)))
        self.plan = [(*case, owner) for case, owner in zip([case for case in what for _ in range(each_case)], turns, strict=True)]

    def __len__(self) -> int:
        return len(self.plan)

    def run(self) -> Iterator[dict[str, Shown]]:
        """For every pasted anomaly what each preparation shows of it; nothing where one of them shows nothing of it."""
        yield from side_by_side(self._one, range(len(self.plan)), workers=2, ahead=4)

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
        kept = _slab(len(areas), counted, slices_in_reach(self.found[owner].raster))
        volume = _cut(pasted.volume, kept)
        made = [pipeline.prepare(volume) for pipeline in self.pipelines.values()]
        for each in made:
            counted = np.intersect1d(counted, kept[each.slices])  # every candidate is asked about the same images
        if not len(counted):
            return {}
        return {key: self._kept(key, number, each, kept, counted) for key, each in zip(self.pipelines, made, strict=True)}

    def _kept(self, key: str, number: int, made: Prepared, kept: np.ndarray, counted: np.ndarray) -> Shown:
        """What one preparation shows of an anomaly, in a file."""
        kind, size, owner = self.plan[number]
        found = self.found[owner]
        place = self.folder / f"{number}-{list(self.pipelines).index(key)}.npy"
        one = shown_around(place, kept[made.slices], usable_slices(found), counted, made.raster, found.entry.group, f"{kind}, {size}")
        np.save(place, made.images[one.rows])
        return replace(one, rows=np.arange(len(one.rows)))

    def _fit_in_memory(self) -> int:
        """How many decoded entries of the first one's size may be kept, so that each is not decoded for every anomaly."""
        return max(2, int(_MOST_BYTES / max(1, self._read(0).volume.image.nbytes)))

    def _read(self, owner: int) -> Normal:
        """A held-out entry with its body as the first preparation finds it."""
        found = self.found[owner]
        volume = attempt(self.source.read, found.entry)
        if isinstance(volume, Problem):
            raise InputError(volume.message, volume.code)
        body = next(iter(self.pipelines.values())).prepare(volume).body
        return Normal(volume, np.ones(volume.image.shape[1:], bool) if body is None else body, usable_slices(found))

    def _other(self, owner: int, normal: Normal, random: np.random.Generator) -> Normal:
        """Another patient's image with the same channels, if one of a few that are drawn is such; else the same image mirrored."""
        group = self.found[owner].entry.group
        others = [number for number, each in enumerate(self.found) if each.entry.group != group]
        for number in random.permutation(others)[:3].tolist():
            other = self._normal(number)
            if len(other.volume.image) == len(normal.volume.image):
                return other
        return replace(normal, volume=replace(normal.volume, image=normal.volume.image[..., ::-1]), body=normal.body[..., ::-1])


def _in_turns(found: Sequence[CachedEntry], seed: int) -> list[int]:
    """Numbers of all entries, one of every patient before the second of any."""
    order = np.random.default_rng((seed, 2)).permutation(len(found)).tolist()
    seen: dict[str, int] = {}
    turn = {}
    for number in order:
        group = found[number].entry.group
        turn[number] = seen[group] = seen.get(group, -1) + 1
    return sorted(order, key=turn.__getitem__)


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
