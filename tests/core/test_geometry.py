"""Where voxels are, before and after a turn. nibabel is the oracle for the closest anatomical axes."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from medood.core.geometry import Geometry, Orientation, Plane, display_geometry, orientation_towards, photograph_geometry


def rotation(x: float, y: float, z: float) -> np.ndarray:
    def about(axis: int, angle: float) -> np.ndarray:
        i, j = [k for k in range(3) if k != axis]
        m = np.eye(3)
        m[i, i] = m[j, j] = np.cos(angle)
        m[i, j], m[j, i] = -np.sin(angle), np.sin(angle)
        return m

    return about(0, x) @ about(1, y) @ about(2, z)


def geometry_of(axes: tuple[int, int, int], signs: tuple[int, int, int], tilt: float = 0.0, shear: float = 0.0) -> Geometry:
    """A grid whose column, row and slice axes point along signed RAS axes, then tilted and sheared."""
    matrix = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[axis, column] = sign
    matrix = rotation(tilt, tilt / 2, tilt / 3) @ matrix @ np.diag([0.7, 0.9, 2.5])
    matrix[:, 2] += shear * matrix[:, 1]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, (10.0, -20.0, 30.0)
    return Geometry(affine, (5, 7, 9))


ALL = [
    geometry_of(axes, signs, tilt, shear)
    for axes in itertools.permutations(range(3))
    for signs in ((1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1))
    for tilt, shear in ((0.0, 0.0), (0.3, 0.0), (0.1, 0.6))
]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal", "native"])
def test_a_turn_moves_no_voxel_in_the_patient_and_is_undone_exactly(plane: str) -> None:
    rng = np.random.default_rng(0)
    for geometry in ALL:
        array = rng.normal(size=(2, *geometry.shape))
        orientation = orientation_towards(geometry, plane)
        turned, after = orientation.apply(array), orientation.turn(geometry)
        assert turned.shape[1:] == after.shape
        assert np.array_equal(orientation.undo(turned), array)
        k, r, c = (int(rng.integers(n)) for n in after.shape)
        native = np.argwhere(array[0] == turned[0, k, r, c])[0]
        assert np.allclose(geometry.world(tuple(native)), after.world((k, r, c)))
        assert orientation.native_slice(k, geometry.shape) == native[orientation.axes[0]]


@pytest.mark.parametrize(("plane", "codes"), [("axial", ("L", "P", "S")), ("coronal", ("L", "I", "A")), ("sagittal", ("P", "I", "L"))])
def test_turned_slices_lie_as_on_a_radiological_display(plane: str, codes: tuple[str, str, str]) -> None:
    for geometry in ALL:
        after = orientation_towards(geometry, plane).turn(geometry)
        assert nib.aff2axcodes(after.affine) == codes  # columns, rows, slices
        assert after.plane == plane


def test_native_keeps_slices_and_their_order() -> None:
    for geometry in ALL:
        orientation = orientation_towards(geometry, "native")
        assert orientation.axes[0] == 0
        assert not orientation.flips[0]
        assert nib.aff2axcodes(orientation.turn(geometry).affine)[:2] in (("L", "P"), ("L", "I"), ("P", "I"))


def test_a_photograph_is_never_turned() -> None:
    geometry = photograph_geometry((1, 4, 6))
    assert geometry.plane is None
    assert orientation_towards(geometry, "axial").axes == (0, 1, 2)
    assert geometry.world((0, 3, 5)).tolist() == [-5.0, -3.0, 0.0]


def test_spacing_is_of_columns_rows_slices() -> None:
    assert np.allclose(geometry_of((0, 1, 2), (1, -1, 1), tilt=0.4).spacing, (0.7, 0.9, 2.5))


@pytest.mark.parametrize(("plane", "codes"), [("axial", "LPS"), ("coronal", "LIA"), ("sagittal", "PIL")])
def test_slices_that_lie_as_on_a_display_are_not_turned(plane: Plane, codes: str) -> None:
    geometry = display_geometry((4, 5, 6), plane, (3.0, 2.0, 1.0))
    assert "".join(nib.aff2axcodes(geometry.affine)) == codes  # where columns, rows and slices lead to: left, down, and the third
    assert geometry.spacing == (1.0, 2.0, 3.0)
    assert geometry.plane == plane
    for wanted in (plane, "native"):
        assert orientation_towards(geometry, wanted) == Orientation()
