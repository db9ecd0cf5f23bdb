"""Where a stack of planes lies: from DICOM's axes (left, posterior, superior) to an affine in RAS+ millimetres (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medood.core.geometry import Geometry
from medood.sources.dicom.planes import Place, Plane

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
    affine[:3, 2] = step_of([plane.place for plane in planes])
    affine[:3, 3] = first.place.position
    return Geometry(_LPS_TO_RAS @ affine, shape)


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
