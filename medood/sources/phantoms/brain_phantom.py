"""Brain-like FLAIR volumes with lesions at known places, computed from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter

LesionKind = Literal["hyper", "hypo", "texture"]

_FIELD_MM = (148.0, 192.0, 192.0)  # slices, rows, columns
_SPINAL_FLUID, _WHITE, _GREY = 0.10, 0.47, 0.66


@dataclass(frozen=True)
class Lesion:
    """kind: "hyper" bright with oedema, "hypo" dark with a rim, "texture" on average as bright as before but coarse; the rest in mm.

    `centre` is the centroid of the lesion's mask in RAS axes, `radius` that of the ball of equal volume.
    """

    kind: LesionKind
    centre: tuple[float, float, float]
    radius: float
    voxels: int


@dataclass(frozen=True, eq=False)
class Brain:
    """image float32 (slices, rows, columns), exactly 0 outside the brain; mask uint8 of the same shape; affine as in Geometry."""

    image: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    lesions: tuple[Lesion, ...]


def make_brain(seed: int, subject: int, *, size: int, slices: int, lesions: Sequence[LesionKind | None]) -> Brain:
    """A skull-stripped axial brain of its own size, folds, contrast, shading, scale and noise, with these lesions; None is one of any kind.

    The same seed and subject without lesions is the same brain in health, but for the places of the lesions.
    """
    rng = np.random.default_rng([seed, subject, 0])
    grid = _Grid(size, slices)
    tissue, depth, fluid = _anatomy(rng, grid)
    inside = depth > 0
    mask, found = np.zeros(inside.shape, np.uint8), []
    chance = np.random.default_rng([seed, subject, 1])
    for kind in lesions:
        tissue, lesion, record = _with_lesion(chance, kind, grid, tissue, (depth > 14) & (fluid < 0.05) & (mask == 0), inside)
        mask |= lesion
        found.append(record)
    noise = np.random.default_rng([seed, subject, 2])
    shading = np.exp(0.08 * grid.waves(noise, 0.012) + 0.02 * noise.standard_normal((slices, 1, 1), dtype=np.float32))
    level = noise.uniform(0.018, 0.035)
    real, imaginary = level * noise.standard_normal((2, *inside.shape), dtype=np.float32)
    image = np.hypot(tissue * shading + real, imaginary) * np.exp(noise.normal(np.log(450), 0.25))
    return Brain(np.where(inside, image, 0).astype(np.float32), mask, grid.affine, tuple(found))


class _Grid:
    """Voxel centres in mm from the middle of the field: x to the left, y to the back, z up."""

    def __init__(self, size: int, slices: int) -> None:
        self.shape = (slices, size, size)
        self.spacing = tuple(field / n for field, n in zip(_FIELD_MM, self.shape, strict=True))
        axes = [((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in zip(self.shape, self.spacing, strict=True)]
        self.z, self.y, self.x = np.meshgrid(*axes, indexing="ij", sparse=True)
        up, back, left = self.spacing
        self.affine = np.diag([-left, -back, up, 1.0])
        self.affine[:3, 3] = [-axes[2][0], -axes[1][0], axes[0][0]]

    def ellipsoid(self, centre: tuple[float, float, float], axes: tuple[float, float, float], bend: float = 0.0) -> np.ndarray:
        """Distance from the centre (x, y, z) in units of the half axes; `bend` moves x outwards with the square of y, per mm."""
        x, y, z = self.x - centre[0], self.y - centre[1], self.z - centre[2]
        if bend:
            x = x - np.sign(centre[0]) * bend * y**2
        return np.sqrt((x / axes[0]) ** 2 + (y / axes[1]) ** 2 + (z / axes[2]) ** 2)

    def waves(self, rng: np.random.Generator, per_mm: float) -> np.ndarray:
        """A smooth random field of unit variance: plane waves of about that many periods per mm."""
        field = np.zeros(self.shape, np.float32)
        for _ in range(4):
            direction = rng.standard_normal(3)
            turns = 2 * np.pi * per_mm * direction / np.linalg.norm(direction)
            phase = rng.uniform(0, 2 * np.pi)
            x, y, z = (np.exp(1j * k * axis).astype(np.complex64) for k, axis in zip(turns, (self.x, self.y, self.z), strict=True))
            field += ((z * np.complex64(np.sqrt(0.5) * np.exp(1j * phase)) * y) * x).real
        return field

    def blobs(self, rng: np.random.Generator, sigma_mm: float) -> np.ndarray:
        """Smoothed white noise of unit variance."""
        field = gaussian_filter(rng.standard_normal(self.shape, dtype=np.float32), [sigma_mm / s for s in self.spacing], truncate=2.5)
        return field / field.std()


def _soft(value: np.ndarray, width: float) -> np.ndarray:
    """0 below zero and 1 above, with an edge of about that width: partial volume."""
    return 1 / (1 + np.exp(np.clip(-4 * value / width, -30, 30)))


def _anatomy(rng: np.random.Generator, grid: _Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tissue brightness, depth below the brain's surface in mm (negative outside), and the share of fluid in the ventricles."""
    wide, long, high = np.array([66.0, 84.0, 62.0]) * rng.normal(1, 0.04, 3)
    taper = 1 - 0.0012 * np.clip(-grid.y, 0, None) + 0.0004 * grid.y  # narrower in front
    outline = grid.waves(rng, 0.012)
    radius = np.sqrt((grid.x / (wide * taper)) ** 2 + (grid.y / long) ** 2 + (grid.z / high) ** 2)
    depth = (1 - radius * (1 + 0.012 * outline)) * 70
    folds = grid.blobs(rng, 4.2)
    middle = np.abs(grid.x + 0.8 * grid.waves(rng, 0.01))
    sulci = np.exp(-((folds / 0.20) ** 2)) * _soft(19 - depth, 9)
    fissure = _soft(1.4 - middle, 1.5) * _soft(np.maximum(26 - depth, grid.z - 28), 6)
    ribbon = np.maximum(_soft(3.2 - depth + 1.2 * folds, 2.5), np.exp(-((folds / 0.85) ** 2)) * _soft(21 - depth, 5))
    ventricles, rim = _ventricles(rng, grid)
    grey = np.clip(np.maximum(ribbon, _nuclei(grid)) + 0.10 * grid.waves(rng, 0.03), 0, 1)
    contrast = rng.normal(1, 0.12)
    tissue = _WHITE + (_GREY - _WHITE) * contrast * grey + 0.012 * grid.blobs(rng, 2.5)
    tissue = tissue + rng.uniform(0.02, 0.16) * rim  # bright caps of healthy ventricles
    fluid = np.maximum(np.maximum(0.85 * sulci, fissure), ventricles)
    return (tissue + (_SPINAL_FLUID - tissue) * np.clip(fluid, 0, 1)).astype(np.float32), depth, ventricles


def _ventricles(rng: np.random.Generator, grid: _Grid) -> tuple[np.ndarray, np.ndarray]:
    """Share of fluid in the two lateral ventricles and the third, and their rim."""
    size = np.exp(rng.normal(0, 0.18))
    nearest = np.full(grid.shape, np.inf, np.float32)
    for side in (-1, 1):
        horn = grid.ellipsoid((side * 9.0, 2.0, 8.0), (4.5 * size, 28.0, 10.0 * size), bend=0.006)
        nearest = np.minimum(nearest, np.where(horn < 1.9, (horn - 1) * 5 * size, 9))
    third = grid.ellipsoid((0.0, 4.0, -6.0), (2.0 * size, 12.0, 10.0))
    nearest = np.minimum(nearest, np.where(third < 1.9, (third - 1) * 3, 9))
    return _soft(-nearest, 1.6), np.exp(-(((nearest - 2.0) / 2.0) ** 2))


def _nuclei(grid: _Grid) -> np.ndarray:
    """Share of grey matter in thalamus and putamen."""
    found = np.zeros(grid.shape, np.float32)
    for side in (-1, 1):
        found = np.maximum(found, _soft(1 - grid.ellipsoid((side * 11.0, 10.0, -1.0), (7.0, 13.0, 9.0)), 0.3))
        found = np.maximum(found, _soft(1 - grid.ellipsoid((side * 25.0, -4.0, 0.0), (5.0, 15.0, 10.0)), 0.3))
    return found


def _with_lesion(
    rng: np.random.Generator, kind: LesionKind | None, grid: _Grid, tissue: np.ndarray, allowed: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Lesion]:
    """The tissue with one more lesion whose middle is an allowed voxel, its mask, and what is true of it."""
    drawn: LesionKind = ("hyper", "hypo", "texture")[int(np.searchsorted([0.7, 0.85], rng.random()))]
    kind = kind or drawn
    place = np.argwhere(allowed)[int(rng.random() * np.count_nonzero(allowed))]
    z, y, x = ((index - (n - 1) / 2) * step for index, n, step in zip(place, grid.shape, grid.spacing, strict=True))
    radius = rng.uniform(9, 19)
    stretch = np.exp(rng.normal(0, 0.15, 3))
    distance = grid.ellipsoid((x, y, z), tuple(radius * stretch)) * (1 + 0.10 * grid.waves(rng, 0.035))
    core = _soft(1 - distance, 0.25)
    coarse = grid.blobs(rng, 2.8)
    if kind == "hyper":
        oedema = _soft(1.35 - distance, 0.5) * rng.uniform(0.10, 0.2)
        changed = tissue + oedema * inside + core * (rng.uniform(0.22, 0.45) + 0.04 * coarse)
    elif kind == "hypo":
        rim = np.exp(-(((distance - 1) / 0.12) ** 2)) * rng.uniform(0.1, 0.2)
        changed = tissue + core * (rng.uniform(0.18, 0.28) - tissue) + rim
    else:
        changed = tissue + core * (np.average(tissue, weights=core) + 0.16 * coarse - tissue)
    mask = (distance < 1) & inside
    indices = np.argwhere(mask)
    k, r, c = indices.mean(0)
    centre = (grid.affine @ [c, r, k, 1.0])[:3]
    volume = len(indices) * float(np.prod(grid.spacing))
    record = Lesion(kind, tuple(centre.round(2).tolist()), round((volume * 3 / 4 / np.pi) ** (1 / 3), 2), len(indices))
    return changed.astype(np.float32), mask.astype(np.uint8), record
