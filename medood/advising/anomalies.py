"""Synthetic anomalies in volumes as they were decoded, before any preparation: so a preparation that hides them is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import ndimage

from medood.core.errors import MedoodError
from medood.core.volume import Volume

Kind = Literal["bright", "dark", "veil", "rough", "blur", "foreign", "seamless", "moved", "swollen"]
KINDS: tuple[Kind, ...] = ("bright", "dark", "veil", "rough", "blur", "foreign", "seamless", "moved", "swollen")
SIZES: dict[str, tuple[float, float]] = {"small": (0.07, 0.2), "large": (0.25, 0.6), "many": (0.07, 0.25)}
"""Diameters, as shares of the square root of the body's area in a slice; one anomaly, or "many": disease often has several sites."""

_MANY = (4, 8)  # anomalies in an image
_TRIES = 10
_VISIBLE = 0.03  # of the body's spread of values: a change that nobody could see is drawn again
_SMALLEST = 2.0  # pixels, of a radius
_INSIDE = 0.2  # weight from which a pixel belongs to an anomaly


@dataclass(frozen=True, eq=False)
class Normal:
    """A normal volume to paste into, or to take pasted parts from.

    body    bool (slices, rows, columns)
    usable  (n,) numbers of its normal slices that detectors are shown
    """

    volume: Volume
    body: np.ndarray
    usable: np.ndarray

    @cached_property
    def values(self) -> np.ndarray:
        """Grey values inside the body of the normal slices, thinned; the mean of the channels."""
        inside = self.volume.image[:, self.usable].mean(0)[self.body[self.usable]]
        return inside[:: max(1, len(inside) // 100_000)]

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest value inside the body."""
        inside = self.volume.image[:, self.body]
        return float(inside.min()), float(inside.max())


@dataclass(frozen=True, eq=False)
class Pasted:
    """A volume with an anomaly, or several of a kind, and where it is: bool (slices, rows, columns)."""

    volume: Volume
    mask: np.ndarray


def cases(kinds: Sequence[str]) -> list[tuple[Kind, str]]:
    """Kinds and sizes of anomalies. Raises MedoodError for a kind that is none."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise MedoodError(f"{', '.join(unknown)}: no kind of anomaly that can be pasted; those are {', '.join(KINDS)}.")
    return [(kind, size) for kind in KINDS if not kinds or kind in kinds for size in SIZES]


def paste(normal: Normal, other: Normal, kind: Kind, size: str, random: np.random.Generator) -> Pasted:
    """An anomaly of a kind and size, or many, in a normal volume; `random` decides everything, and `normal` stays as it is.

    bright, dark  a level is added or taken away, 0.1 to 0.5 of the body's spread of values (its 5th to 95th percentile)
    veil          values are drawn towards a bright level, as by an opacity: contrast goes, brightness comes
    rough         noise of a grain of 1 to 4 pixels; blur: detail goes
    foreign       the same place of another image, mixed in; seamless: only the detail of that place
    moved         another place of the same image
    swollen       the anatomy is pushed apart or drawn together; no value is new

    The edge is wavy and more or less soft. No pixel outside the body changes, and none leaves the range of the body's values.
    """
    scene = _Scene(normal, other, _spread(normal.values))
    image, mask = normal.volume.image.copy(), np.zeros(normal.body.shape, bool)
    number = None
    for _ in range(int(random.integers(_MANY[0], _MANY[1] + 1)) if size == "many" else 1):
        spot, made = _visible(image, kind, size, scene, random, number)
        number = int(spot.middle[0])  # the others are in the same slice
        own = image[(slice(None), *spot.box)]
        image[(slice(None), *spot.box)] = np.where(spot.weight > 0, made, own)
        mask[spot.box] |= spot.weight > _INSIDE
    return Pasted(replace(normal.volume, image=image), mask)


def _visible(
    image: np.ndarray, kind: Kind, size: str, scene: _Scene, random: np.random.Generator, number: int | None
) -> tuple[_Spot, np.ndarray]:
    """A place, and what its box looks like with the anomaly; drawn anew while nobody could see it."""
    for _ in range(_TRIES):
        spot = _spot(scene.normal, size, random, number)
        own = image[(slice(None), *spot.box)]
        made = _EFFECTS[kind](own, spot, scene, random)
        made = (own + spot.weight * (made - own)).clip(*scene.normal.ends).astype(np.float32)
        if (own == np.rint(own)).all():  # as a file of whole numbers holds them
            made = np.rint(made)
        inside = spot.weight > _INSIDE
        if inside.any() and float(np.abs(made - own).mean(0)[inside].mean()) > _VISIBLE * scene.spread:
            break
    return spot, made


@dataclass(frozen=True, eq=False)
class _Spot:
    """Where an anomaly is: its box, its middle and radii (slices, rows, columns) in voxels, and weights 0..1 of the box's voxels."""

    box: tuple[slice, slice, slice]
    middle: np.ndarray
    radii: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class _Scene:
    normal: Normal
    other: Normal
    spread: float


def _spread(values: np.ndarray) -> float:
    low, high = np.percentile(values, (5, 95))
    return float(high - low) or 1.0


def _spot(normal: Normal, size: str, random: np.random.Generator, number: int | None) -> _Spot:
    """A wavy ellipsoid around a random voxel of the body, within the run of normal slices around it; of the slice `number` if given."""
    number = int(random.choice(normal.usable)) if number is None else number
    places = np.argwhere(normal.body[number])
    row, column = places[random.integers(len(places))] if len(places) else np.array(normal.body.shape[1:]) // 2
    radius = random.uniform(*SIZES[size]) * max(1, len(places)) ** 0.5 / 2 * random.uniform(0.75, 1.33, 2)
    dx, dy, dz = normal.volume.geometry.spacing
    depth = 0.5 if normal.body.shape[0] == 1 else max(0.5, float(radius.mean()) * (dx * dy) ** 0.5 / dz * random.uniform(0.6, 1.0))
    middle, radii = np.array([number, row, column]), np.array([depth, *radius.clip(min=_SMALLEST)])
    first, last = _run(normal.usable, number)
    limits = ((first, last + 1), (0, normal.body.shape[1]), (0, normal.body.shape[2]))
    low = [max(edge[0], int(np.floor(m - 1.3 * r))) for edge, m, r in zip(limits, middle, radii, strict=True)]
    high = [min(edge[1], int(np.ceil(m + 1.3 * r)) + 1) for edge, m, r in zip(limits, middle, radii, strict=True)]
    box = slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
    axes = np.ogrid[box]
    distance = np.sqrt(sum(((axis - m) / r) ** 2 for axis, m, r in zip(axes, middle, radii, strict=True)))
    wavy = distance * (1 + 0.2 * _noise(distance.shape, (3, 4, 4), random))
    weight = ((1 - wavy) / random.uniform(0.1, 0.7)).clip(0, 1) * normal.body[box]
    return _Spot(box, middle, radii, weight)


def _run(usable: np.ndarray, number: int) -> tuple[int, int]:
    """First and last of the neighbouring slices around one that can all be used."""
    runs = np.split(usable, np.flatnonzero(np.diff(usable) > 1) + 1)
    run = next(each for each in runs if each[0] <= number <= each[-1])
    return int(run[0]), int(run[-1])


def _noise(shape: tuple[int, ...], grid: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Gaussian noise of a grid, stretched over a box."""
    grid = tuple(min(n, length) for n, length in zip(grid, shape, strict=True))
    coarse = random.standard_normal(grid)
    steps = [np.linspace(0, n - 1, length) for n, length in zip(grid, shape, strict=True)]
    return ndimage.map_coordinates(coarse, np.meshgrid(*steps, indexing="ij"), order=1)


def _level(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator, sign: int) -> np.ndarray:
    tint = random.uniform(0.6, 1.4, (len(own), 1, 1, 1)) if len(own) > 1 else 1.0
    return own + sign * random.uniform(0.1, 0.5) * scene.spread * tint


def _bright(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    return _level(own, spot, scene, random, 1)


def _dark(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    return _level(own, spot, scene, random, -1)


def _veil(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    level = float(np.percentile(scene.normal.values, random.uniform(60, 90)))
    return own + random.uniform(0.2, 0.7) * (level - own)


def _rough(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    grain = int(random.integers(1, 5))
    grid = (own.shape[1], *(max(2, length // grain) for length in own.shape[2:]))
    return own + random.uniform(0.05, 0.25) * scene.spread * _noise(own.shape[1:], grid, random)


def _blur(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    sigma = max(1.0, random.uniform(0.1, 0.4) * float(spot.radii[1:].mean()))
    return _lowpass(own, sigma)


def _foreign(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    return own + random.uniform(0.3, 1.0) * (_same_place(spot, scene) - own)


def _seamless(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    sigma = max(1.0, float(spot.radii[1:].mean()))
    there = _same_place(spot, scene)
    return _lowpass(own, sigma) + random.uniform(0.7, 1.3) * (there - _lowpass(there, sigma))


def _moved(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    """The box at another place of the same slices."""
    image, (slices, rows, columns) = scene.normal.volume.image, spot.box
    height, width = rows.stop - rows.start, columns.stop - columns.start
    places = np.argwhere(scene.normal.body[spot.middle[0]])
    down, across = (places[random.integers(len(places))] if len(places) else spot.middle[1:]) - [height // 2, width // 2]
    down, across = (int(np.clip(at, 0, most)) for at, most in ((down, image.shape[2] - height), (across, image.shape[3] - width)))
    return image[:, slices, down : down + height, across : across + width]


def _swollen(own: np.ndarray, spot: _Spot, scene: _Scene, random: np.random.Generator) -> np.ndarray:
    """Each pixel comes from nearer to the middle, or from farther away; within the slice."""
    strength = random.uniform(0.3, 0.7) * random.choice([-0.6, 1.0])
    rows, columns = np.mgrid[spot.box[1:]]
    away = rows - spot.middle[1], columns - spot.middle[2]
    made = np.empty_like(own)
    for number in range(own.shape[1]):
        pull = 1 - strength * spot.weight[number]
        at = [middle + step * pull - edge.start for middle, step, edge in zip(spot.middle[1:], away, spot.box[1:], strict=True)]
        for channel in range(len(own)):
            made[channel, number] = ndimage.map_coordinates(own[channel, number], at, order=1, mode="nearest")
    return made


def _same_place(spot: _Spot, scene: _Scene) -> np.ndarray:
    """The same place of the other volume, in the grey values of this one: by their medians and spreads."""
    image, normal, other = scene.other.volume.image, scene.normal, scene.other
    relative = [(np.arange(*edge.indices(n)) + 0.5) / n for edge, n in zip(spot.box, normal.body.shape, strict=True)]
    slices, rows, columns = (np.minimum((at * n).astype(int), n - 1) for at, n in zip(relative, other.body.shape, strict=True))
    slices = other.usable[np.abs(other.usable[:, None] - slices).argmin(0)]  # only normal ones
    part = image[:, slices[:, None, None], rows[:, None], columns]
    there = (part - float(np.median(other.values))) / _spread(other.values)
    return there * scene.spread + float(np.median(normal.values))


def _lowpass(part: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(part, (0, 0, sigma, sigma), mode="nearest")


_EFFECTS: dict[str, Callable[[np.ndarray, _Spot, _Scene, np.random.Generator], np.ndarray]] = {
    "bright": _bright,
    "dark": _dark,
    "veil": _veil,
    "rough": _rough,
    "blur": _blur,
    "foreign": _foreign,
    "seamless": _seamless,
    "moved": _moved,
    "swollen": _swollen,
}
