"""Whose an image is, and which files are masks, in the layouts that circulate."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medood.sources.folder import Folder
from medood.sources.image import Image
from medood.sources.nifti import Nifti
from medood.sources.roles import case_of, group_of, is_named_mask

_NOISE = np.random.default_rng(0).integers(0, 900, (24, 20, 5)).astype(np.int16)
_LABELS = (_NOISE > 850).astype(np.uint8)


def _save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        nib.save(nib.Nifti1Image(values, np.diag([-2.0, -2, 4, 1])), path)
    else:
        Picture.fromarray(values[..., 0].astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("imagesTr/case_000_0000.nii.gz", "case_000"),
        ("imagesTr/case_000_0001.nii.gz", "case_000"),
        ("Dataset001_X/imagesTs/la_003.nii.gz", "la_003"),
        ("train/p7/flair.nii", "p7"),
        ("normal/a.nii", "normal/a.nii"),
        ("normal_train/a.nii", "normal_train/a.nii"),
        ("normal/scan_0001.nii", "normal/scan_0001.nii"),
        ("Training/HGG/BraTS_1/a.nii", "BraTS_1"),
        ("patient7/s1/a.nii", "patient7"),
        ("trainer/a.nii", "trainer"),
        ("data/sub-07/anat/sub-07_T1w.nii", "sub-07"),
        ("a.nii", "a.nii"),
    ],
)
def test_folders_that_say_what_is_in_them_are_no_patients(name: str, group: str) -> None:
    assert group_of(name, "subject") == group


@pytest.mark.parametrize(
    "name", ["labelsTr/a.nii", "x/masks/a.png", "Ground_Truth/a.png", "a_seg.nii", "p/a-label.nii", "a_mask_1.png", "gt/a.bmp"]
)
def test_masks_by_name_or_folder(name: str) -> None:
    assert is_named_mask(name)


@pytest.mark.parametrize("name", ["labelled/a.nii", "a_masked.nii", "unlabeled/a.png", "segments/a.nii", "mask.d/a.nii", "imagesTr/a.nii"])
def test_what_only_sounds_like_a_mask(name: str) -> None:
    assert not is_named_mask(name)


def test_an_image_and_its_mask_are_one_case() -> None:
    assert case_of("imagesTr/case_1_0000.nii.gz") == case_of("labelsTr/case_1.nii.gz") == "case_1"
    assert case_of("busi/benign (1).png") == case_of("busi/benign (1)_mask.png") == case_of("busi/benign (1)_mask_1.png")
    assert case_of("scans/a_0001.nii") != case_of("scans/a_0002.nii")


def test_the_layout_of_nnunet(tmp_path: Path) -> None:
    for number in range(3):
        _save(tmp_path / "imagesTr" / f"case_{number:03d}_0000.nii.gz", _NOISE)
        _save(tmp_path / "labelsTr" / f"case_{number:03d}.nii.gz", _LABELS)
    index = Folder(tmp_path).index()
    assert [(e.id, e.group) for e in index.entries] == [(f"imagesTr/case_{n:03d}_0000.nii.gz", f"case_{n:03d}") for n in range(3)]
    assert [(p.path, p.code) for p in index.problems] == [(f"labelsTr/case_{n:03d}.nii.gz", "mask_file") for n in range(3)]


def test_a_map_of_few_whole_numbers_with_a_twin_is_a_mask_wherever_it_lies(tmp_path: Path) -> None:
    _save(tmp_path / "scans" / "a.nii.gz", _NOISE)
    _save(tmp_path / "lesions" / "a.nii.gz", _LABELS)
    _save(tmp_path / "lesions" / "alone.nii.gz", _LABELS)
    _save(tmp_path / "t2" / "a.nii.gz", _NOISE // 2)
    _save(tmp_path / "heat" / "a.nii.gz", _LABELS.astype(np.float32))
    for folder in ("one", "two"):
        _save(tmp_path / folder / "both_few.nii.gz", _LABELS)
    index = Nifti(tmp_path).index()
    assert {p.path: p.code for p in index.problems} == {"lesions/a.nii.gz": "mask_file"}
    assert len(index.entries) == 6
    many = (np.arange(2400) % 33).reshape(24, 20, 5).astype(np.int16)
    _save(tmp_path / "lesions" / "a.nii.gz", many)
    assert not Nifti(tmp_path).index().problems


def test_a_damaged_twin_is_not_taken_for_a_mask(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        _save(tmp_path / folder / "x.nii.gz", _NOISE)
    whole = (tmp_path / "b" / "x.nii.gz").read_bytes()
    (tmp_path / "b" / "x.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert len(Nifti(tmp_path).index().entries) == 2


def test_masks_beside_their_pictures_are_no_images(tmp_path: Path) -> None:
    for name in ("busi/a (1).png", "busi/a (1)_mask.png", "busi/a (1)_mask_1.png", "x/images/1.png", "x/masks/1.png", "alone_mask.png"):
        _save(tmp_path / name, _NOISE)
    for source in (Image(tmp_path), Folder(tmp_path)):
        index = source.index()
        assert [e.id for e in index.entries] == ["alone_mask.png", "busi/a (1).png", "x/images/1.png"]
        assert {p.code for p in index.problems} == {"mask_file"}
    (tmp_path / "table.csv").write_text("path,group,label,part,mask\nbusi/a (1).png,p,1,,busi/a (1)_mask.png\n")
    (entry,) = Folder(tmp_path, csv="table.csv").index().entries
    assert Folder(tmp_path).read(entry).mask is not None
