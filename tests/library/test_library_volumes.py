"""`medood.read`: files as volumes, without a detector."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_writer import write_series
from PIL import Image

import medood


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two DICOM series, a NIfTI volume, a picture, and three files that cannot be used."""
    for number, name in enumerate("ab"):
        pixels = np.random.default_rng(number).integers(0, 1000, (4, 6, 5), dtype=np.int16)
        write_series(tmp_path / name, pixels, np.diag([-1.0, -1.0, 2.0, 1.0]), modality="MR")
    nib.save(nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2.0, 3.0, 4.0, 1.0])), tmp_path / "c.nii.gz")
    Image.fromarray(np.full((5, 6, 3), 200, np.uint8)).save(tmp_path / "d.png")
    (tmp_path / "e.png").write_bytes((tmp_path / "d.png").read_bytes()[:50])
    (tmp_path / "notes.txt").write_text("not an image")
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), np.nan, np.float32), np.eye(4)), tmp_path / "f.nii")
    return tmp_path


def test_a_folder_gives_everything_and_says_what_it_left_out(folder: Path) -> None:
    volumes = medood.read(folder)
    assert isinstance(volumes, list)
    assert [volume.entry.id for volume in volumes] == ["a", "b", "c.nii.gz", "d.png"]
    assert {problem.path: problem.code for problem in volumes.problems} == {
        "e.png": "unreadable",
        "f.nii": "not_finite",
        "notes.txt": "not_an_image",
    }
    nifti, picture = volumes[2:]
    assert np.array_equal(nifti.image[0], np.arange(24).reshape(2, 3, 4).T)
    assert nifti.geometry.spacing == (2.0, 3.0, 4.0)
    assert picture.image.shape == (3, 1, 5, 6)
    assert (picture.image == 200).all()


def test_a_file_gives_its_own_volume_alone(folder: Path) -> None:
    for name, slices in (("c.nii.gz", 4), ("d.png", 1)):
        (volume,) = medood.read(str(folder / name))
        assert volume.image.shape[1] == slices
        assert volume.entry.id == name
    one = sorted((folder / "a").iterdir())[1]
    (volume,) = medood.read(one)
    assert volume.entry.files == (one,)
    (series,) = medood.read(folder / "a")
    assert series.image.shape[1] == len(list((folder / "a").iterdir()))
    assert any(np.array_equal(volume.image[:, 0], series.image[:, k]) for k in range(series.image.shape[1]))


def test_a_file_that_cannot_be_read_is_an_error_and_so_is_no_file(folder: Path) -> None:
    for name, code in (("e.png", "unreadable"), ("f.nii", "not_finite"), ("notes.txt", "not_an_image"), ("nowhere", "not_found")):
        with pytest.raises(medood.InputError) as caught:
            medood.read(folder / name)
        assert caught.value.code == code
        assert name in str(caught.value)


def test_parameters_and_cohorts_are_passed_on(folder: Path, tmp_path: Path) -> None:
    (zeroed,) = medood.read(folder / "f.nii", source="nifti", nan="zero")
    assert zeroed.issues == ("not_finite_set_to_zero:8",)
    (folder / "table.csv").write_text("path,group,label,part\nd.png,patient,1,\n")
    (volume,) = medood.read(folder, csv="table.csv")
    assert (volume.entry.group, volume.labels.tolist()) == ("patient", [1])
    medood.write_phantoms(tmp_path / "phantoms", subjects=2, size=32, slices=8)
    labelled = medood.read(tmp_path / "phantoms" / "nifti", source="brats")
    assert len(labelled) == 2
    assert all(volume.mask is not None for volume in labelled)
    with pytest.raises(medood.MedoodError, match="no source called 'brat'; did you mean 'brats'"):
        medood.read(folder, source="brat")
