"""Where planes lie, each by itself and as a stack, and from DICOM's axes to an affine in RAS+ millimetres (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medood.core.geometry import Geometry
from medood.sources.dicom.planes import Place, Plane

SAME_POSITION = 0.01  # mm
_SAME_DIRECTION = 1e-3  # in each component of the unit vectors
_UNEVEN = 0.01  # of the distance of slices
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def geometry_of(planes: Sequence[Plane]) -> Geometry:
    """The grid of planes in the order of the slices. Planes without a place lie as a photograph does, x to the left and y down."""
    first = planes[0]
    shape = (len(planes), first.rows, first.columns)
    between_rows, between_columns = first.spacing
    if first.place is None:
        affine = np.diag([-between_columns, -between_rows, 1.0, 1.0])
        return Geometry(affine, shape, spacing_known=first.measured == "patient", in_patient=False)
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(first.place.across, between_columns)
    affine[:3, 1] = np.multiply(first.place.down, between_rows)
    affine[:3, 2] = step_of(places_of(planes))
    affine[:3, 3] = first.place.position
    return Geometry(_LPS_TO_RAS @ affine, shape)


def places_of(planes: Sequence[Plane]) -> list[Place]:
    """Of planes that all have one."""
    return [plane.place for plane in planes if plane.place is not None]


def step_of(places: Sequence[Place]) -> np.ndarray:
    """The way from one slice to the next: from the first to the last, in equal parts, so that a tilted gantry keeps its shear."""
    if len(places) == 1:
        return normal_of(places[0]) * places[0].depth
    return np.subtract(places[-1].position, places[0].position) / (len(places) - 1)


def normal_of(place: Place) -> np.ndarray:
    """Unit vector at right angles to a plane; slices are ordered along it."""
    return np.cross(place.across, place.down)


def tilt_of(places: Sequence[Place]) -> float:
    """Degrees between the way from slice to slice and the normal: 0 for a straight stack, the angle of the gantry for a sheared one."""
    step = step_of(places)
    away = np.linalg.norm(np.cross(step, normal_of(places[0])))
    return float(np.degrees(np.arctan2(away, abs(step @ normal_of(places[0])))))


def alike(a: Plane, b: Plane) -> bool:
    """True for placed planes of one size, spacing, direction and kind of colour, and of one stack of a multi-frame object."""
    if a.place is None or b.place is None or (a.rows, a.columns, a.colour, a.stack) != (b.rows, b.columns, b.colour, b.stack):
        return False
    directions = zip(a.place.across + a.place.down, b.place.across + b.place.down, strict=True)
    spacings = zip(a.spacing, b.spacing, strict=True)
    return all(abs(p - q) < _SAME_DIRECTION for p, q in directions) and all(abs(p - q) < 1e-3 * p for p, q in spacings)


def along_normal(planes: Sequence[Plane]) -> np.ndarray:
    """Millimetres of each plane along the normal of the first."""
    places = places_of(planes)
    return np.array([place.position for place in places]) @ normal_of(places[0])


def same_position(along: np.ndarray) -> float:
    """Millimetres below which two positions are one; less than usual for stacks of very thin slices."""
    return min(SAME_POSITION, 0.05 * float(np.ptp(along)) / max(1, len(along) - 1))


def repeats(planes: Sequence[Plane]) -> bool:
    """Whether a plane lies where another one lies."""
    along = np.sort(along_normal(planes))
    return bool((np.diff(along) <= same_position(along)).any())


def uneven_gaps(gaps: np.ndarray) -> np.ndarray:
    """Which of the distances between neighbours differ from the usual one."""
    usual = float(np.median(gaps))
    return np.flatnonzero(np.abs(gaps - usual) > max(_UNEVEN * usual, SAME_POSITION))
