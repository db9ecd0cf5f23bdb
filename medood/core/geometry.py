"""Where an array lies in the patient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from nibabel.orientations import io_orientation

Plane = Literal["axial", "coronal", "sagittal"]

# Direction of (slices, rows, columns) on a radiological display, as (RAS axis, sign).
_DISPLAY: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "axial": ((2, 1), (1, -1), (0, -1)),
    "coronal": ((1, 1), (2, -1), (0, -1)),
    "sagittal": ((0, -1), (2, -1), (1, -1)),
}
_PLANE_OF_NORMAL: dict[int, Plane] = {0: "sagittal", 1: "coronal", 2: "axial"}


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid of a volume, array[slice, row, column], in the patient.

    `affine` maps the homogeneous index (column, row, slice, 1) to millimetres in RAS+ axes (as NIfTI; DICOM and NRRD use LPS).
    It may be oblique or sheared (gantry tilt). A photograph has `in_patient=False`: pixels only, x right, y down.
    `spacing_known=False` says that the millimetres are a guess (1 mm, or measured at the detector of a radiograph).
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    spacing_known: bool = True
    in_patient: bool = True

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between columns, rows and slices."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def plane(self) -> Plane | None:
        """The anatomical plane nearest to the slices; None for a photograph."""
        return _PLANE_OF_NORMAL[int(io_orientation(self.affine)[2, 0])] if self.in_patient else None

    def world(self, index: tuple[float, float, float]) -> np.ndarray:
        """RAS millimetres of the array index (slice, row, column)."""
        k, r, c = index
        return (self.affine @ np.array([c, r, k, 1.0]))[:3]


def photograph_geometry(shape: tuple[int, int, int]) -> Geometry:
    """Pixels of 1 mm, x to the patient's left and y down, as 3D Slicer shows a picture upright."""
    return Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), shape, spacing_known=False, in_patient=False)


def display_geometry(shape: tuple[int, int, int], plane: Plane, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Geometry:
    """Slices of `plane` that lie as on a radiological display, so that `orientation_towards` it turns nothing; the first voxel is at 0.

    `spacing` is that of (slices, rows, columns) in mm.
    """
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (world, sign), step in zip((2, 1, 0), _DISPLAY[plane], spacing, strict=True):
        affine[world, axis] = sign * step
    return Geometry(affine, shape)


@dataclass(frozen=True)
class Raster:
    """How far apart in mm the images of one entry lie, and their pixels.

    pixel_mm  (height, width) of a pixel;  known  whether that is a measure, and not a guess of 1 mm
    slice_mm  from one slice to the next, or None where images are no neighbours in space: pictures, single slices
    """

    pixel_mm: tuple[float, float]
    slice_mm: float | None = None
    known: bool = True

    @property
    def pixel_mm2(self) -> float:
        return self.pixel_mm[0] * self.pixel_mm[1]


@dataclass(frozen=True)
class Orientation:
    """A lossless turn of a volume: which axis goes where, and which are then flipped. Exactly undone by `undo`."""

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Turn an array whose last three axes are (slice, row, column); a view."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + a for a in self.axes))
        return np.flip(turned, tuple(lead + i for i in range(3) if self.flips[i]))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Bring a turned array back to the native axes; a view."""
        lead = array.ndim - 3
        back = np.flip(array, tuple(lead + i for i in range(3) if self.flips[i]))
        return back.transpose(*range(lead), *(lead + int(a) for a in np.argsort(self.axes)))

    def turn(self, geometry: Geometry) -> Geometry:
        """The geometry of a turned array: every voxel stays where it is in the patient."""
        to_native = np.zeros((4, 4))  # turned (column, row, slice, 1) -> native (column, row, slice, 1)
        to_native[3, 3] = 1.0
        slices, rows, columns = shape = tuple(geometry.shape[a] for a in self.axes)
        for i, (axis, flipped) in enumerate(zip(self.axes, self.flips, strict=True)):
            to_native[2 - axis, 2 - i] = -1.0 if flipped else 1.0
            to_native[2 - axis, 3] = shape[i] - 1 if flipped else 0.0
        return replace(geometry, affine=geometry.affine @ to_native, shape=(slices, rows, columns))

    def native_slice(self, number: int, shape: tuple[int, int, int]) -> int:
        """Index along the native axis that turned slice `number` comes from; `shape` is the native shape."""
        return shape[self.axes[0]] - 1 - number if self.flips[0] else number


def orientation_towards(geometry: Geometry, plane: str) -> Orientation:
    """The turn that makes slices of `plane` lie as on a radiological display.

    `plane` is "axial", "coronal", "sagittal", or "native": keep the slices as they are and turn only rows and columns.
    """
    own = geometry.plane
    if own is None:
        return Orientation()
    signed = {int(axis): (2 - i, int(sign)) for i, (axis, sign) in enumerate(io_orientation(geometry.affine))}
    wanted = _DISPLAY[own if plane == "native" else plane]
    slices, rows, columns = (signed[axis][0] for axis, _ in wanted)
    back, up, left = (signed[axis][1] != sign for axis, sign in wanted)
    return Orientation((slices, rows, columns), (back and plane != "native", up, left))
