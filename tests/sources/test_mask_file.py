"""Masks on the grid of their image, turned against it, resampled, compressed, and those that are none."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medood.core.errors import InputError
from medood.core.geometry import photograph_geometry
from medood.core.volume import Entry, Volume
from medood.sources.mask_file import add_mask, read_mask
from medood.sources.nifti import read_nifti

_SHAPE = (7, 6, 5)  # columns, rows, slices
_OBLIQUE = np.array([[-1.9, 0.3, 0.1, 80], [0.4, 2.1, -0.6, -70], [0.2, 0.5, 3.2, 12], [0, 0, 0, 1]], dtype=float)
_MASK = (np.random.default_rng(0).random(_SHAPE) > 0.8).astype(np.uint8)


def _grid(tmp_path: Path, affine: np.ndarray = _OBLIQUE):
    nib.save(nib.Nifti1Image(np.zeros(_SHAPE, np.int16), affine), tmp_path / "image.nii")
    return read_nifti(tmp_path / "image.nii", "image")[1]


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_a_mask_may_be_stored_in_any_orientation(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    """The same voxels in the same places, as tools that reorient to RAS leave them."""
    geometry = _grid(tmp_path)
    for flips in itertools.product((1, -1), repeat=3):
        turned = nib.Nifti1Image(_MASK, _OBLIQUE).as_reoriented(np.array(list(zip(axes, flips, strict=True))))
        nib.save(turned, tmp_path / "mask.nii")
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", geometry, "image"), _MASK.T)


@pytest.mark.parametrize(
    "moved",
    [np.diag([1.0, -1, 1, 1]), np.array([[1.0, 0, 0, 0.3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), np.diag([1.03, 1, 1, 1])],
    ids=["mirrored", "shifted", "larger"],
)
def test_a_mask_of_other_voxels_is_refused(tmp_path: Path, moved: np.ndarray) -> None:
    geometry = _grid(tmp_path)
    nib.save(nib.Nifti1Image(_MASK, _OBLIQUE @ moved), tmp_path / "mask.nii")
    with pytest.raises(InputError, match="different grids") as caught:
        read_mask(tmp_path / "mask.nii", geometry, "image")
    assert caught.value.code == "mask_grid"


def test_a_mask_may_be_off_by_rounding(tmp_path: Path) -> None:
    geometry = _grid(tmp_path)
    nib.save(nib.Nifti1Image(_MASK, _OBLIQUE + 1e-3), tmp_path / "mask.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", geometry, "image"), _MASK.T)


@pytest.mark.parametrize(
    ("values", "lesion"),
    [
        (_MASK.astype("f4") + 1e-6, _MASK),
        (_MASK * np.float32(0.9999), _MASK),
        (_MASK.astype("f4") * 4, _MASK),
        (_MASK.astype("f4") * 3.7 - 1e-3, _MASK),
        (_MASK.astype("i2") - 1, np.zeros(_SHAPE)),
        (np.where(_MASK, 0.6, 0.4).astype("f4"), _MASK),
        (np.where(_MASK, 1, np.nan).astype("f4"), _MASK),
        (np.zeros(_SHAPE, "f4"), np.zeros(_SHAPE)),
    ],
)
def test_what_resampling_leaves_in_the_background_is_no_lesion(tmp_path: Path, values: np.ndarray, lesion: np.ndarray) -> None:
    geometry = _grid(tmp_path)
    nib.save(nib.Nifti1Image(values, _OBLIQUE), tmp_path / "mask.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", geometry, "image"), lesion.T)


def test_a_mask_compressed_as_jpeg_is_cut_at_half(tmp_path: Path) -> None:
    mask = np.zeros((40, 50), np.uint8)
    mask[10:21, 13:30] = 255
    Picture.fromarray(mask).save(tmp_path / "mask.jpg", quality=60)
    found = read_mask(tmp_path / "mask.jpg", photograph_geometry((1, 40, 50)), "image")
    np.testing.assert_array_equal(found[0], mask > 0)


@pytest.mark.parametrize(("filled", "issues"), [(True, ("mask_fills_volume",)), (False, ())])
def test_a_mask_that_fills_the_volume_is_pointed_out(tmp_path: Path, filled: bool, issues: tuple[str, ...]) -> None:
    geometry = _grid(tmp_path)
    nib.save(nib.Nifti1Image(np.ones(_SHAPE, np.uint8) if filled else _MASK, _OBLIQUE), tmp_path / "mask.nii")
    volume = Volume(Entry("a", (tmp_path / "image.nii",), "p", slices=5), np.zeros((1, *geometry.shape), np.float32), geometry, np.zeros(5))
    add_mask(volume, tmp_path / "mask.nii", label=None)
    assert volume.issues == issues
    assert volume.labels.tolist() == [1 if filled or _MASK[..., k].any() else 0 for k in range(5)]
