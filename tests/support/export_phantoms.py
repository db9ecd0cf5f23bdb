"""Volumes with a lesion at a known place, in every orientation that matters to what is exported."""

from __future__ import annotations

import numpy as np

from medood.core.geometry import Geometry, photograph_geometry
from medood.core.map_scale import MapScale

SCALE = MapScale(0.0, 1.0, 0.3)
SHAPE = (12, 22, 18)
LESION = (7, 15, 5)


def _grid(across, down, step, origin) -> Geometry:
    affine = np.eye(4)
    affine[:3] = np.stack([across, down, step, origin], axis=1)
    return Geometry(affine, SHAPE)


def _turned(angle: float, axis: tuple[float, float, float]) -> np.ndarray:
    """Rotation by `angle` radians about `axis` (Rodrigues' formula)."""
    x, y, z = np.divide(axis, np.linalg.norm(axis))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


_OBLIQUE = _turned(0.5, (1.0, 0.4, 0.2))
_TILT = np.radians(15)

GEOMETRIES = {
    "axial": _grid((-1.25, 0, 0), (0, -0.75, 0), (0, 0, 4), (11, 9, -74)),
    "feet_first": _grid((-1.25, 0, 0), (0, -0.75, 0), (0, 0, -4), (11, 9, 30)),
    "sagittal": _grid((0, -1.25, 0), (0, 0, -0.75), (3, 0, 0), (-20, 12, 16)),
    "coronal": _grid((-1.25, 0, 0), (0, 0, -0.75), (0, 2.5, 0), (9, -14, 8)),
    "oblique": _grid(_OBLIQUE @ (-1.25, 0, 0), _OBLIQUE @ (0, -0.75, 0), _OBLIQUE @ (0, 0, 4), (11, 9, -74)),
    "sheared": _grid((-1.25, 0, 0), (0, -0.75, 0), (0, 4 * np.sin(_TILT), 4 * np.cos(_TILT)), (11, 9, -74)),
}
PICTURE = photograph_geometry((1, 40, 60))
PICTURE_LESION = (0, 8, 45)


def blob(geometry: Geometry, voxel: tuple[int, int, int], width: float = 4.0) -> np.ndarray:
    """A float32 map whose peak of 1 is at `voxel` and falls off over `width` mm in all directions of the patient."""
    indices = np.indices(geometry.shape)[::-1].reshape(3, -1).T  # (column, row, slice)
    places = indices @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    away = ((places - geometry.world(voxel)) ** 2).sum(axis=1).reshape(geometry.shape)
    return np.exp(-away / (2 * width**2)).astype(np.float32)


def grey(geometry: Geometry, *, whole: bool = True) -> np.ndarray:
    """An image (1, slices, rows, columns) with a different value in every column, row and slice; with fractions unless `whole`."""
    k, r, c = np.indices(geometry.shape)
    values = (100 * k + 10 * r + c).astype(np.float32)
    return (values if whole else values + 0.25)[np.newaxis]


def colour(geometry: Geometry) -> np.ndarray:
    """An RGB image (3, slices, rows, columns) of whole numbers from 0 to 255 with three different channels."""
    k, r, c = np.indices(geometry.shape)
    return np.stack([(3 * r) % 256, (2 * c + k) % 256, np.full(geometry.shape, 140)]).astype(np.float32)
