"""The BraTS layouts, their labels per slice, and incomplete downloads."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medood.core.errors import InputError, MedoodError
from medood.sources.cohorts.brats import Brats

_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
_TUMOUR_VOXELS = (0, 1, 50, 51, 80)  # in the slices 0 to 4


def _segmentation() -> np.ndarray:
    """Axes (column, row, slice), tumour parts 1, 2 and 4 in turn."""
    flat = np.zeros((100, 5), np.uint8)
    for k, count in enumerate(_TUMOUR_VOXELS):
        flat[:count, k] = np.resize([1, 2, 4], count)
    return flat.reshape(10, 10, 5)


def _save(path: Path, array: np.ndarray, affine: np.ndarray = _AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def _subject(root: Path, name: str, *, modality: str = "_flair", seg: str | None = "_seg", suffix: str = ".nii.gz") -> None:
    folder = root / name
    _save(folder / f"{folder.name}{modality}{suffix}", np.full((10, 10, 5), 7, np.int16))
    if seg:
        _save(folder / f"{folder.name}{seg}{suffix}", _segmentation())


def test_slices_are_labelled_by_their_tumour(tmp_path: Path) -> None:
    _subject(tmp_path, "BraTS19_A_1")
    source = Brats(tmp_path)
    (entry,) = source.index().entries
    assert (entry.id, entry.group, entry.label, entry.slices) == ("BraTS19_A_1/BraTS19_A_1_flair.nii.gz", "BraTS19_A_1", None, 5)
    volume = source.read(entry)
    assert volume.labels.tolist() == [0, -1, -1, 1, 1]
    assert volume.labels.dtype == np.int8
    assert volume.mask is not None
    assert volume.mask.dtype == np.uint8
    np.testing.assert_array_equal(volume.mask, (_segmentation() > 0).T)
    assert Brats(tmp_path, min_lesion=0).read(entry).labels.tolist() == [0, 1, 1, 1, 1]
    assert Brats(tmp_path, min_lesion=79).read(entry).labels.tolist() == [0, -1, -1, -1, 1]


def test_every_layout_is_found(tmp_path: Path) -> None:
    _subject(tmp_path, "HGG/BraTS18_X_1", suffix=".nii")
    _subject(tmp_path, "LGG/BraTS18_Y_1")
    _subject(tmp_path, "BraTS-GLI-00005-100", modality="-t2f", seg="-seg")
    _subject(tmp_path, "BraTS-GLI-00005-101", modality="-t2f", seg="-seg")
    _subject(tmp_path, "BraTS2021_00001", modality="_t1ce")
    index = Brats(tmp_path).index()
    assert {e.id.rpartition("/")[0]: e.group for e in index.entries} == {
        "BraTS-GLI-00005-100": "BraTS-GLI-00005",
        "BraTS-GLI-00005-101": "BraTS-GLI-00005",
        "HGG/BraTS18_X_1": "BraTS18_X_1",
        "LGG/BraTS18_Y_1": "BraTS18_Y_1",
    }
    assert all(entry.mask is not None for entry in index.entries)
    (problem,) = index.problems
    assert problem.code == "no_flair"
    assert "BraTS2021_00001_flair.nii.gz" in problem.message
    assert "BraTS2021_00001_t1ce.nii.gz" in problem.message
    assert [e.group for e in Brats(tmp_path, modality="t1ce").index().entries] == ["BraTS2021_00001"]


def test_without_a_segmentation_nothing_is_known(tmp_path: Path) -> None:
    _subject(tmp_path, "BraTS19_A_1", seg=None)
    (entry,) = Brats(tmp_path).index().entries
    volume = Brats(tmp_path).read(entry)
    assert volume.mask is None
    assert volume.labels.tolist() == [-1] * 5
    assert entry.issues == ("no_labels",)


def test_subjects_are_chosen_by_name_and_misspelt_names_are_refused(tmp_path: Path) -> None:
    for name in ("A_1", "B_1", "C_1"):
        _subject(tmp_path, name)
    assert [e.group for e in Brats(tmp_path, exclude=("B_1",)).index().entries] == ["A_1", "C_1"]
    assert [e.group for e in Brats(tmp_path, only=("B_1",)).index().entries] == ["B_1"]
    with pytest.raises(MedoodError, match=r"exclude: .* B_2 .* did you mean B_1\?"):
        Brats(tmp_path, exclude=("B_2",)).index()
    with pytest.raises(MedoodError, match="only: "):
        Brats(tmp_path, only=("Z",)).index()
    with pytest.raises(MedoodError, match="leave no BraTS subject"):
        Brats(tmp_path, only=("B_1",), exclude=("B_1",)).index()


def test_the_wrong_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match=r"expected folders such as SUBJECT/SUBJECT_flair\.nii\.gz .* found no NIfTI files"):
        Brats(tmp_path).index()
    _save(tmp_path / "scans" / "patient_t1.nii.gz", _segmentation())
    with pytest.raises(MedoodError, match=r"found folders with other NIfTI files \(scans\)"):
        Brats(tmp_path).index()
    with pytest.raises(InputError, match="no such folder"):
        Brats(tmp_path / "elsewhere").index()


@pytest.mark.parametrize("shift", [np.diag([1.0, -1.0, 1.0, 1.0]), None])
def test_a_segmentation_on_another_grid_is_refused(tmp_path: Path, shift: np.ndarray | None) -> None:
    _subject(tmp_path, "A_1")
    if shift is None:
        _save(tmp_path / "A_1" / "A_1_seg.nii.gz", _segmentation()[:, :, :4])
    else:
        _save(tmp_path / "A_1" / "A_1_seg.nii.gz", _segmentation(), shift)
    (entry,) = Brats(tmp_path).index().entries
    with pytest.raises(InputError, match="different grids") as caught:
        Brats(tmp_path).read(entry)
    assert caught.value.code == "mask_grid"


def test_a_folder_for_each_file_as_it_circulates(tmp_path: Path) -> None:
    """SUBJECT/SUBJECT_flair.nii/ANY.nii"""
    for number in range(3):
        subject = f"BraTS2021_{number:05d}"
        for kind, values in (("flair", np.ones((8, 8, 4), np.int16)), ("seg", np.zeros((8, 8, 4), np.uint8))):
            folder = tmp_path / subject / f"{subject}_{kind}.nii"
            folder.mkdir(parents=True)
            nib.save(nib.Nifti1Image(values, np.eye(4)), folder / f"{number:05d}_brain_{kind}.nii")
    source = Brats(tmp_path)
    index = source.index()
    assert index.problems == ()
    assert [e.group for e in index.entries] == [f"BraTS2021_{number:05d}" for number in range(3)]
    assert source.read(index.entries[0]).labels.tolist() == [0] * 4
