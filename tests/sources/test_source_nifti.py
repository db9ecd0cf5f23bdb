"""NIfTI volumes: values and places against nibabel and SimpleITK, and files that must be refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medood.core.errors import InputError
from medood.sources.nifti import Nifti, read_nifti

_VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 40
_OBLIQUE = np.array([[-1.9, 0.3, 0.1, 80], [0.4, 2.1, -0.6, -70], [0.2, 0.5, 3.2, 12], [0, 0, 0, 1]], dtype=float)


def _save(path: Path, values: np.ndarray = _VALUES, affine: np.ndarray = _OBLIQUE, image: type = nib.Nifti1Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image(values, affine), path)
    return path


def _only_problem(root: Path) -> tuple[str, str]:
    index = Nifti(root).index()
    assert not index.entries
    (problem,) = index.problems
    assert problem.path not in problem.message
    return problem.code, problem.message


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("image", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_voxel_keeps_its_value_and_its_place(tmp_path: Path, name: str, image: type) -> None:
    """The affine is oblique and sheared, which ITK refuses to read."""
    _save(tmp_path / name, image=image)
    (entry,) = Nifti(tmp_path).index().entries
    volume = Nifti(tmp_path).read(entry)
    assert (entry.id, entry.slices) == (name, 6)
    assert volume.image.shape == (1, 6, 5, 4)
    assert volume.image.dtype == np.float32
    assert volume.image.flags.c_contiguous
    for i, j, k in [(0, 0, 0), (3, 0, 5), (1, 4, 2)]:
        assert volume.image[0, k, j, i] == _VALUES[i, j, k]
        np.testing.assert_allclose(volume.geometry.world((k, j, i)), (_OBLIQUE @ [i, j, k, 1])[:3], rtol=1e-5)
    assert volume.geometry.shape == (6, 5, 4)
    assert volume.geometry.spacing_known
    assert volume.labels.tolist() == [-1] * 6


def test_values_and_places_are_those_of_simpleitk(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(5, 7, 6)).astype(np.float32))
    turn = sitk.VersorTransform([0.2, 0.5, 0.1], 0.7)
    image.SetDirection(turn.GetMatrix())
    image.SetSpacing((0.8, 1.1, 2.5))
    image.SetOrigin((10.0, -20.0, 30.0))
    sitk.WriteImage(image, tmp_path / "a.nii.gz")
    array, geometry = read_nifti(tmp_path / "a.nii.gz", "a")
    np.testing.assert_array_equal(array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(geometry.spacing, (0.8, 1.1, 2.5), rtol=1e-5)
    lps = np.array(image.TransformIndexToPhysicalPoint((4, 3, 2)))
    np.testing.assert_allclose(geometry.world((2, 3, 4)), lps * [-1, -1, 1], atol=1e-3)


def test_the_header_scales_the_stored_values(tmp_path: Path) -> None:
    image = nib.Nifti1Image(_VALUES, _OBLIQUE)
    image.header.set_slope_inter(0.5, 100)
    nib.save(image, tmp_path / "a.nii.gz")
    array, _ = read_nifti(tmp_path / "a.nii.gz", "a")
    np.testing.assert_allclose(array.T, nib.load(tmp_path / "a.nii.gz").get_fdata())
    assert array[0, 0, 0] == pytest.approx(-40 * 0.5 + 100)


def test_big_endian_and_gzip_under_a_plain_name(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.float32)
    nib.save(nib.Nifti1Image(_VALUES.astype(">f4"), _OBLIQUE, header), tmp_path / "big.nii")
    (tmp_path / "packed.nii").write_bytes(gzip.compress((tmp_path / "big.nii").read_bytes()))
    for name in ("big.nii", "packed.nii"):
        array, _ = read_nifti(tmp_path / name, name)
        assert array.dtype == np.dtype("=f4")
        np.testing.assert_array_equal(array.T, _VALUES)


@pytest.mark.parametrize(("shape", "slices"), [((4, 5, 6, 1), 6), ((4, 5, 6, 1, 1), 6), ((4, 5), 1)])
def test_axes_of_length_one_do_not_count(tmp_path: Path, shape: tuple[int, ...], slices: int) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    _save(tmp_path / "a.nii.gz", values)
    (entry,) = Nifti(tmp_path).index().entries
    volume = Nifti(tmp_path).read(entry)
    assert volume.image.shape == (1, slices, 5, 4)
    np.testing.assert_array_equal(volume.image[0].T.ravel(), values.ravel())


def test_millimetres_whatever_the_unit(tmp_path: Path) -> None:
    for unit, factor in (("mm", 1.0), ("micron", 1e-3), ("meter", 1e3), ("unknown", 1.0)):
        image = nib.Nifti1Image(_VALUES, np.diag([2.0, 3.0, 4.0, 1.0]))
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / "a.nii")
        _, geometry = read_nifti(tmp_path / "a.nii", "a")
        np.testing.assert_allclose(geometry.spacing, np.array([2.0, 3.0, 4.0]) * factor)


def test_odd_headers_are_noted(tmp_path: Path) -> None:
    bare = nib.Nifti1Image(_VALUES, np.eye(4))
    bare.set_sform(None, 0)
    bare.set_qform(None, 0)
    nib.save(bare, tmp_path / "bare.nii")
    torn = nib.Nifti1Image(_VALUES, np.eye(4))
    torn.set_sform(np.diag([1.0, 1.0, 1.0, 1.0]), 1)
    torn.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]), 1)
    nib.save(torn, tmp_path / "torn.nii")
    agree = nib.Nifti1Image(_VALUES, np.diag([-1.0, -1.0, 2.0, 1.0]))
    agree.set_qform(agree.affine, 1)
    nib.save(agree, tmp_path / "agree.nii")
    index = Nifti(tmp_path).index()
    assert {e.id: e.issues for e in index.entries} == {
        "bare.nii": ("orientation_unknown",),
        "torn.nii": ("sform_qform_differ",),
        "agree.nii": (),
    }
    assert not read_nifti(tmp_path / "bare.nii", "bare")[1].spacing_known


def test_not_a_number_is_an_error_unless_zero_is_asked_for(tmp_path: Path) -> None:
    values = _VALUES.astype(np.float32)
    values[1, 2, 3] = np.nan
    values[0, 0, 0] = -np.inf
    _save(tmp_path / "a.nii.gz", values)
    (entry,) = Nifti(tmp_path).index().entries
    with pytest.raises(InputError, match="2 of 120 voxels") as caught:
        Nifti(tmp_path).read(entry)
    assert caught.value.code == "not_finite"
    volume = Nifti(tmp_path, nan="zero").read(entry)
    assert np.isfinite(volume.image).all()
    assert volume.image[0, 3, 2, 1] == volume.image[0, 0, 0, 0] == 0
    assert volume.image[0, 5, 4, 3] == _VALUES[3, 4, 5]
    assert volume.padding is not None
    assert np.argwhere(volume.padding).tolist() == [[0, 0, 0], [3, 2, 1]]
    assert volume.issues == ("not_finite_set_to_zero:2",)


def test_volumes_of_more_dimensions_or_colours_are_problems(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "a.nii.gz", np.zeros((4, 5, 6, 2), np.float32))
    assert _only_problem(tmp_path / "a")[0] == "not_3d"
    assert "4x5x6x2" in _only_problem(tmp_path / "a")[1]
    _save(tmp_path / "b" / "b.nii", np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert _only_problem(tmp_path / "b")[0] == "not_grey"
    _save(tmp_path / "c" / "c.nii", np.zeros((4, 5, 6), dtype=np.complex64))
    assert _only_problem(tmp_path / "c")[0] == "not_grey"
    singular = nib.Nifti1Image(_VALUES, np.eye(4))
    singular.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), 1)
    (tmp_path / "d").mkdir()
    nib.save(singular, tmp_path / "d" / "d.nii")
    assert _only_problem(tmp_path / "d")[0] == "bad_affine"


def test_damaged_files_are_problems_or_input_errors(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(10, 20, 30))
    plain, packed = _save(tmp_path / "plain" / "a.nii"), _save(tmp_path / "packed" / "a.nii.gz", noise)
    plain.write_bytes(plain.read_bytes()[:-1])
    assert _only_problem(plain.parent)[0] == "truncated"
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    (entry,) = Nifti(packed.parent).index().entries  # the header is still whole
    for broken in (whole[: len(whole) // 2], whole[:-8] + bytes(4) + whole[-4:]):  # cut off; a checksum that does not fit
        packed.write_bytes(broken)
        with pytest.raises(InputError, match="damaged or cut off") as caught:
            Nifti(packed.parent).read(entry)
        assert caught.value.code == "truncated"
    packed.write_bytes(b"")
    assert _only_problem(packed.parent)[0] == "empty"
    for nonsense in (b"hello", b"x" * 1000, whole[:20], gzip.compress(b"x" * 1000)):
        packed.write_bytes(nonsense)
        assert _only_problem(packed.parent)[0] == "unreadable"


def test_a_header_cannot_ask_for_more_than_the_file_can_hold(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.float64)
    header.set_sform(np.eye(4), 1)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    assert _only_problem(tmp_path)[0] == "truncated"


def test_masks_and_other_files_are_listed_and_not_read(tmp_path: Path) -> None:
    masks = ("p/x_seg.nii.gz", "p/x-seg.nii", "p/x_mask.nii.gz", "p/x_brainmask.nii.gz", "p/x_desc-brain_mask.nii", "p/brainmask.nii")
    images = ("p/x_flair.nii.gz", "p/x_masked.nii", "p/segments.nii")
    for name in (*masks, *images):
        _save(tmp_path / name)
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / ".hidden.nii").write_text("")
    index = Nifti(tmp_path).index()
    assert [entry.id for entry in index.entries] == sorted(images)
    assert {p.path: p.code for p in index.problems} == dict.fromkeys(masks, "mask_file") | {"notes.json": "not_an_image"}


def test_groups_come_from_the_path(tmp_path: Path) -> None:
    paths = ("study/sub-07/anat/sub-07_FLAIR.nii", "patient3/s1/flair.nii", "patient3/s2/flair.nii", "alone.nii", "sub-9_T1w.nii")
    for name in paths:
        _save(tmp_path / name)
    groups = {e.id: e.group for e in Nifti(tmp_path).index().entries}
    assert [groups[name] for name in paths] == ["sub-07", "patient3", "patient3", "alone.nii", "sub-9"]
    assert {e.id: e.group for e in Nifti(tmp_path, group="folder").index().entries}["patient3/s1/flair.nii"] == "patient3/s1"
    assert all(e.group == e.id for e in Nifti(tmp_path, group="file").index().entries)


def test_a_single_file_may_be_the_root_but_nothing_may_not(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.nii")
    (entry,) = Nifti(path).index().entries
    assert entry.id == "a.nii"
    with pytest.raises(InputError, match="no such folder"):
        Nifti(tmp_path / "elsewhere").index()


def test_links_in_circles_end(tmp_path: Path) -> None:
    _save(tmp_path / "data" / "a.nii")
    try:
        (tmp_path / "data" / "again").symlink_to(tmp_path / "data", target_is_directory=True)
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "linked").symlink_to(tmp_path / "data", target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let this user make links")
    assert [e.id for e in Nifti(tmp_path / "root").index().entries] == ["linked/a.nii"]
