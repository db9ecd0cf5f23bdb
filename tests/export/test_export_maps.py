from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from export_phantoms import GEOMETRIES, LESION, PICTURE, SHAPE, blob, colour

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry
from medood.export.maps import coarse_geometry, read_map, write_map, write_nrrd

LPS = np.array([-1, -1, 1])
STRAIGHT = [name for name in GEOMETRIES if name != "sheared"]
every = pytest.mark.parametrize("name", GEOMETRIES)


def hottest_in_simpleitk(path: Path) -> np.ndarray:
    """RAS millimetres of the highest value, as SimpleITK places it."""
    image = sitk.ReadImage(str(path))
    k, r, c = np.unravel_index(np.argmax(sitk.GetArrayFromImage(image)), SHAPE)
    return LPS * image.TransformIndexToPhysicalPoint((int(c), int(r), int(k)))


@every
def test_nrrd_lies_where_the_geometry_says(name: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES[name]
    write_map(tmp_path / "map.nrrd", blob(geometry, LESION), geometry)
    np.testing.assert_allclose(hottest_in_simpleitk(tmp_path / "map.nrrd"), geometry.world(LESION), atol=1e-6)
    array, header = nrrd.read(str(tmp_path / "map.nrrd"))  # (column, row, slice)
    assert header["space"] == "left-posterior-superior"
    index = np.unravel_index(np.argmax(array), array.shape)
    np.testing.assert_allclose(LPS * (header["space origin"] + index @ header["space directions"]), geometry.world(LESION), atol=1e-6)


@pytest.mark.parametrize("name", STRAIGHT)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_nifti_lies_where_nrrd_does(name: str, suffix: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES[name]
    path = tmp_path / f"map{suffix}"
    write_map(path, blob(geometry, LESION), geometry)
    np.testing.assert_allclose(hottest_in_simpleitk(path), geometry.world(LESION), atol=1e-4)
    image = nib.load(path)
    index = np.unravel_index(np.argmax(image.get_fdata()), image.shape)
    for affine in (image.get_sform(), image.get_qform()):
        np.testing.assert_allclose((affine @ (*index, 1))[:3], geometry.world(LESION), atol=1e-3)


def test_sheared_nifti_is_refused(tmp_path: Path) -> None:
    geometry = GEOMETRIES["sheared"]
    with pytest.raises(MedoodError, match="nrrd"):
        write_map(tmp_path / "map.nii.gz", blob(geometry, LESION), geometry)
    assert list(tmp_path.iterdir()) == []


def test_nifti_takes_the_rounding_of_directions(tmp_path: Path) -> None:
    geometry = GEOMETRIES["oblique"]
    rounded = Geometry(np.round(geometry.affine, 4), SHAPE)
    write_map(tmp_path / "map.nii.gz", blob(rounded, LESION), rounded)
    np.testing.assert_allclose(hottest_in_simpleitk(tmp_path / "map.nii.gz"), geometry.world(LESION), atol=0.01)


@pytest.mark.parametrize("name", [*GEOMETRIES, "picture"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_a_map_comes_back_as_it_was(name: str, suffix: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES.get(name, PICTURE)
    if (name, suffix) == ("sheared", ".nii.gz"):
        return
    array = np.random.default_rng(0).normal(size=geometry.shape).astype(np.float32)
    write_map(tmp_path / f"map{suffix}", array, geometry)
    back, place = read_map(tmp_path / f"map{suffix}")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, array)
    np.testing.assert_allclose(place.affine, geometry.affine, rtol=0, atol=1e-12 if suffix == ".nrrd" else 1e-5)
    assert (place.shape, place.in_patient, place.spacing_known) == (geometry.shape, geometry.in_patient, geometry.spacing_known)


def test_nrrd_header_holds_the_grid_and_nothing_else(tmp_path: Path) -> None:
    write_map(tmp_path / "map.nrrd", blob(PICTURE, (0, 3, 4)), PICTURE)
    header = nrrd.read_header(str(tmp_path / "map.nrrd"))
    grid = {"type", "dimension", "space", "sizes", "space directions", "kinds", "endian", "encoding", "space origin"}
    assert set(header) == grid | {"in_patient", "spacing_known"}
    text, _, packed = (tmp_path / "map.nrrd").read_bytes().partition(b"\n\n")
    assert b"#" not in text  # comments are where writers leave their name and the time
    assert packed[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"  # gzip without a file name, and with time 0 (RFC 1952, 2.3)


def test_equal_maps_give_equal_bytes(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    for name in ("one.nrrd", "two.nrrd"):
        write_map(tmp_path / name, blob(geometry, LESION), geometry)
    assert (tmp_path / "one.nrrd").read_bytes() == (tmp_path / "two.nrrd").read_bytes()


def test_a_turned_view_is_written_as_it_reads(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    array = np.flip(blob(geometry, LESION).transpose(2, 1, 0), 1).transpose(2, 1, 0).astype(np.float64)
    write_map(tmp_path / "map.nrrd", array, geometry)
    np.testing.assert_array_equal(read_map(tmp_path / "map.nrrd")[0], array.astype(np.float32))


def test_rgb_nrrd_reads_as_three_channels(tmp_path: Path) -> None:
    pixels = np.moveaxis(colour(PICTURE), 0, -1).astype(np.uint8)
    write_nrrd(tmp_path / "picture.nrrd", pixels, PICTURE)
    image = sitk.ReadImage(str(tmp_path / "picture.nrrd"))
    assert image.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), pixels)
    assert image.TransformIndexToPhysicalPoint((45, 8, 0)) == (45, 8, 0)  # LPS: x to the left, y to the back


def test_bad_maps_are_refused_in_a_sentence(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    array = blob(geometry, LESION)
    with pytest.raises(MedoodError, match=r"\(11, 22, 18\).*\(12, 22, 18\)"):
        write_map(tmp_path / "map.nrrd", array[1:], geometry)
    with pytest.raises(MedoodError, match=r"\.nrrd, \.nii\.gz or \.nii"):
        write_map(tmp_path / "map.mha", array, geometry)
    array[0, 0, 0] = np.nan
    with pytest.raises(MedoodError, match="not finite"):
        write_map(tmp_path / "map.nrrd", array, geometry)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
@pytest.mark.parametrize("kept", [0, 40, 1000])
def test_damaged_maps_are_input_errors(suffix: str, kept: int, tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    path = tmp_path / f"map{suffix}"
    write_map(path, blob(geometry, LESION), geometry)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"map\.n.*write it again"):
        read_map(path)


def test_missing_and_foreign_maps_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no map") as caught:
        read_map(tmp_path / "map.nrrd")
    assert caught.value.code == "missing"
    nrrd.write(str(tmp_path / "foreign.nrrd"), np.zeros((3, 4, 5)))
    with pytest.raises(InputError):
        read_map(tmp_path / "foreign.nrrd")


@every
def test_patches_lie_in_the_middle_of_their_pixels(name: str) -> None:
    geometry = GEOMETRIES[name]
    coarse = coarse_geometry(geometry, (11, 6))  # patches of 2 rows and 3 columns
    assert coarse.shape == (12, 11, 6)
    for patch in ((0, 0, 0), (7, 4, 5), (11, 10, 2)):
        k, r, c = patch
        pixels = [geometry.world((k, 2 * r + i, 3 * c + j)) for i in range(2) for j in range(3)]
        np.testing.assert_allclose(coarse.world(patch), np.mean(pixels, axis=0), atol=1e-9)


def test_patches_that_do_not_divide_the_image_share_its_field_of_view() -> None:
    geometry = GEOMETRIES["oblique"]
    coarse = coarse_geometry(geometry, (5, 4))
    np.testing.assert_allclose(coarse.world((3, -0.5, -0.5)), geometry.world((3, -0.5, -0.5)), atol=1e-9)
    np.testing.assert_allclose(coarse.world((3, 4.5, 3.5)), geometry.world((3, 21.5, 17.5)), atol=1e-9)
