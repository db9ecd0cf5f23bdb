"""A source whose volumes are changed after they were read: the same files, as another scanner or another position would have shown them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from medood.core.volume import Entry, Index, Source, Volume
from medood.transforms.foreground import Foreground

_OUTSIDE = 0.2
"""The share of a volume that one value must fill to count as its outside: as Foreground has it."""

_LEAST_BODY = 0.01
"""Slices whose body fills less of them stay as they are."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A slice that is to be changed.

    image    float32 (channels, rows, columns)
    body     bool (rows, columns)
    outside  what surrounds the body exactly, as after skull-stripping; None where nothing does
    """

    image: np.ndarray
    body: np.ndarray
    outside: float | None

    @property
    def values(self) -> np.ndarray:
        """float32 (n,): the grey values inside the body, of all channels; of all pixels where there is no body."""
        found = self.image[:, self.body]
        return found.ravel() if found.size else self.image.ravel()

    def filled(self, image: np.ndarray) -> np.ndarray:
        """Another image in the place of this one: what is outside stays exactly as it was, where there is an outside."""
        kept = image if self.outside is None else np.where(self.body, image, np.float32(self.outside))
        return np.ascontiguousarray(kept, np.float32)


Change = Callable[[Picture, np.random.Generator], np.ndarray]
"""A slice and chance to the changed slice, float32 (channels, rows, columns)."""


@dataclass(frozen=True)
class Changed:
    """The volumes of `source`, every slice with something in it changed. The same seed and `name` change the same slice in the same way,
    whatever else is read."""

    source: Source
    name: str
    change: Change
    seed: int

    def index(self) -> Index:
        return self.source.index()

    def read(self, entry: Entry) -> Volume:
        volume = self.source.read(entry)
        body, outside = body_of(volume)
        image = volume.image.copy()
        for k, inside in enumerate(body):
            if inside.mean() >= _LEAST_BODY:
                image[:, k] = self.change(Picture(volume.image[:, k], inside, outside), _chance(self.seed, self.name, entry.id, k))
        return replace(volume, image=image, padding=None)


def body_of(volume: Volume) -> tuple[np.ndarray, float | None]:
    """bool (slices, rows, columns), where the body is, and the exact value around it, where there is one."""
    grey = volume.image.mean(0)
    found = Foreground(method="background")({"image": volume.image})["foreground"][0]
    if found.mean() > 1 - _OUTSIDE or not found.any():
        return Foreground(method="otsu")({"image": volume.image})["foreground"][0], None
    return found, float(grey[~found][0])


def _chance(seed: int, name: str, entry: str, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(entry.encode("utf-8", "surrogateescape")), number])
