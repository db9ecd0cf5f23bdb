"""A folder for each class, one of which is normal."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_writer import write_series
from PIL import Image as Picture

from medood.core.errors import MedoodError
from medood.data.split import split
from medood.recipe.loading import load_recipe
from medood.sources.cohorts.class_folders import ClassFolders


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.random.default_rng(0).integers(0, 255, (8, 6), np.uint8)).save(path)


def volume(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((8, 6, 4), np.float32), np.eye(4)), path)


def test_one_folder_is_normal_and_the_others_are_not_each_once(tmp_path: Path) -> None:
    for name in ("Cat", "Dog"):
        for number in range(3):
            picture(tmp_path / name / f"{number}.jpg")
    for normal in ("Cat", "Dog"):
        source = ClassFolders(tmp_path, normal=normal)
        index = source.index()
        assert not index.problems
        assert {e.id for e in index.entries if e.label == 0} == {f"{normal}/{number}.jpg" for number in range(3)}
        assert all(e.class_name == e.id.split("/")[0] for e in index.entries)
        assert {e.part for e in index.entries} == {None}
        assert len({e.group for e in index.entries}) == 6
        assert {int(source.read(e).labels[0]) for e in index.entries if e.label} == {1}


def test_folders_above_those_of_the_classes_are_parts(tmp_path: Path) -> None:
    for name in ("Training/NORMAL/a.png", "val/NORMAL/b.png", "test/NORMAL/c.png", "test/PNEUMONIA/d.png", "test/NORMAL/deeper/e.png"):
        picture(tmp_path / name)
    picture(tmp_path / "train" / "f.png")
    picture(tmp_path / "g.png")
    index = ClassFolders(tmp_path, normal="NORMAL").index()
    found = {e.id: (e.part, e.label, e.class_name) for e in index.entries}
    assert found == {
        "Training/NORMAL/a.png": ("train", 0, "NORMAL"),
        "val/NORMAL/b.png": ("val", 0, "NORMAL"),
        "test/NORMAL/c.png": ("test", 0, "NORMAL"),
        "test/NORMAL/deeper/e.png": ("test", 0, "NORMAL"),
        "test/PNEUMONIA/d.png": ("test", 1, "PNEUMONIA"),
    }
    assert [(p.path, p.code) for p in index.problems] == [("g.png", "not_listed"), ("train/f.png", "not_listed")]
    parts = split(index, load_recipe("default_grey"))
    assert [[e.id for e in part] for part in (parts.train, parts.held_out)] == [["Training/NORMAL/a.png"], ["val/NORMAL/b.png"]]


def test_a_patient_is_a_folder_below_that_of_the_class_and_never_the_class(tmp_path: Path) -> None:
    for name in ("healthy/one.nii.gz", "healthy/two.nii.gz", "ill/one.nii.gz", "healthy/p1/a.nii.gz", "ill/p1/b.nii.gz"):
        volume(tmp_path / name)
    groups = {e.id: e.group for e in ClassFolders(tmp_path, normal="healthy").index().entries}
    assert groups.pop("healthy/p1/a.nii.gz") == groups.pop("ill/p1/b.nii.gz") == "p1"
    assert len(set(groups.values())) == 3


def test_a_series_has_its_patient_from_its_headers_and_one_class(tmp_path: Path) -> None:
    for name, uid in (("clear", "1.2.3.1"), ("opaque", "1.2.3.2")):
        write_series(tmp_path / name / "x", np.zeros((3, 8, 6), np.int16), np.eye(4), series=uid, study=f"{uid}.9")
    entries = ClassFolders(tmp_path, normal="clear").index().entries
    assert [(e.class_name, e.label) for e in entries] == [("clear", 0), ("opaque", 1)]
    assert len({e.group for e in entries}) == 1
    moved = next((tmp_path / "clear" / "x").iterdir())
    moved.rename(tmp_path / "opaque" / "x" / "moved.dcm")
    with pytest.raises(MedoodError, match="no image lies in a folder clear"):
        ClassFolders(tmp_path, normal="clear").index()
    index = ClassFolders(tmp_path, normal="opaque").index()
    assert [e.class_name for e in index.entries] == ["opaque"]
    assert sorted(p.code for p in index.problems) == ["ambiguous", "incomplete"]


def test_a_class_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    for name in ("Cat", "Dog"):
        picture(tmp_path / name / "a.png")
    with pytest.raises(MedoodError, match=r"no image lies in a folder mouse; .*Cat, Dog\. Set `source\.normal`"):
        ClassFolders(tmp_path, normal="mouse").index()
    with pytest.raises(MedoodError, match=r"which folder is normal cannot be told; folders with images: Cat, Dog"):
        ClassFolders(tmp_path).index()


@pytest.mark.parametrize("normal", [None, "normal", "NORMAL"])
def test_capital_letters_and_ways_to_write_accents_do_not_make_another_class(tmp_path: Path, normal: str | None) -> None:
    for name in ("train/normal/a.png", "test/NORMAL/b.png", "test/caf\u00e9/c.png", "test/cafe\u0301/d.png"):
        picture(tmp_path / name)
    index = ClassFolders(tmp_path, normal=normal).index()
    assert {e.id[-5]: (e.label, e.part) for e in index.entries} == {"a": (0, "train"), "b": (0, "test"), "c": (1, "test"), "d": (1, "test")}
    assert len({e.class_name for e in index.entries}) == 2
    accented = ClassFolders(tmp_path, normal="cafe\u0301").index()
    assert {e.id[-5] for e in accented.entries if e.label == 0} == {"c", "d"}


def test_the_normal_class_below_a_folder_that_is_no_part_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "NORMAL" / "a.png")
    picture(tmp_path / "dev" / "NORMAL" / "b.png")
    with pytest.raises(MedoodError, match=r"dev/NORMAL/b\.png lies in a folder of the normal class within a folder dev"):
        ClassFolders(tmp_path, normal="NORMAL").index()


def test_the_name_of_a_class_may_end_that_of_a_part(tmp_path: Path) -> None:
    for name in ("train/n/a.png", "train/n/b.png", "test/n/c.png"):
        picture(tmp_path / name)
    assert len({e.group for e in ClassFolders(tmp_path, normal="n").index().entries}) == 3


def test_a_patient_in_two_parts_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "NORMAL" / "p0" / "a.png")
    picture(tmp_path / "test" / "NORMAL" / "p0" / "b.png")
    with pytest.raises(MedoodError, match=r"one patient are in two parts, test/NORMAL/p0/b\.png and train/NORMAL/p0/a\.png"):
        ClassFolders(tmp_path).index()


def test_a_class_that_is_taken_for_masks_is_named(tmp_path: Path) -> None:
    for name in ("NORMAL/a.png", "ILL/a.png", "masks/a.png"):
        picture(tmp_path / name)
    index = ClassFolders(tmp_path).index()
    assert ("masks", "incomplete") in [(p.path, p.code) for p in index.problems]
    assert {e.class_name for e in index.entries} == {"NORMAL", "ILL"}
