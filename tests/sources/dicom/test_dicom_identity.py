"""What belongs to one series and what is a copy, when UIDs are right and when anonymisers have spoilt them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_writer import write_image, write_series

from medood.core.volume import Index
from medood.sources.dicom.dicom import Dicom

ARRAY = np.arange(7 * 6 * 5, dtype=np.uint16).reshape(7, 6, 5)


def grid(first: float = 0.0, spacing: float = 3.0) -> np.ndarray:
    affine = np.diag([-1.0, -1.0, spacing, 1.0])
    affine[2, 3] = first
    return affine


def indexed(root: Path) -> tuple[Index, list[np.ndarray]]:
    source = Dicom(root)
    index = source.index()
    return index, [source.read(entry).image[0] for entry in index.entries]


@pytest.mark.parametrize("first", [0.0, 1.5], ids=["at the same heights", "between them"])
def test_one_series_uid_of_two_patients_is_two_series(tmp_path: Path, first: float) -> None:
    write_series(tmp_path / "a", ARRAY, grid(), series="1.2.3", patient="one")
    write_series(tmp_path / "b", ARRAY + 300, grid(first), series="1.2.3", patient="two")
    index, images = indexed(tmp_path)
    assert [(entry.id, entry.group) for entry in index.entries] == [("a", "patient-0001"), ("b", "patient-0002")]
    assert all("series_uid_reused:2" in entry.issues for entry in index.entries)
    np.testing.assert_array_equal(images, [ARRAY, ARRAY + 300])
    assert index.problems == ()


def test_one_series_uid_in_two_studies_of_a_patient_is_two_series(tmp_path: Path) -> None:
    for study in ("1.5", "1.6"):
        write_series(tmp_path / study, ARRAY, grid(), series="1.2.3", study=study)
    index, _ = indexed(tmp_path)
    assert [entry.origin.study_uid for entry in index.entries] == ["1.5", "1.6"]
    assert [entry.issues for entry in index.entries] == [("series_uid_reused:2",)] * 2


def test_slices_in_two_frames_of_reference_are_two_stacks(tmp_path: Path) -> None:
    for place, uid in ((0.0, "1.7"), (1.5, "1.8")):
        names = [f"{uid}-{k}" for k in range(7)]
        write_series(tmp_path, ARRAY, grid(place), series="1.2.3", study="1.2", names=names, extra={"FrameOfReferenceUID": uid})
    index, _ = indexed(tmp_path)
    assert [entry.slices for entry in index.entries] == [7, 7]
    assert all("frames_of_reference:2" in entry.issues for entry in index.entries)


def test_a_frame_of_reference_for_each_slice_says_nothing(tmp_path: Path) -> None:
    write_series(tmp_path / "s", ARRAY, grid(), extra=lambda k: {"FrameOfReferenceUID": f"1.7.{k}"})
    index, (image,) = indexed(tmp_path)
    assert index.entries[0].issues == ("frame_of_reference_per_slice",)
    np.testing.assert_array_equal(image, ARRAY)


def test_one_sop_uid_for_all_slices_makes_no_copies_of_them(tmp_path: Path) -> None:
    write_series(tmp_path / "s", ARRAY, grid(), extra={"SOPInstanceUID": "1.2.3.4"})
    index, (image,) = indexed(tmp_path)
    assert index.problems == ()
    assert index.entries[0].issues == ("sop_uid_reused:7",)
    np.testing.assert_array_equal(image, ARRAY)


def test_a_copy_is_a_copy_only_if_its_content_agrees(tmp_path: Path) -> None:
    shared = {"series": "1.2.3", "study": "1.2", "extra": {"SOPInstanceUID": "1.2.3.4"}}
    write_image(tmp_path / "a", ARRAY[0], **shared)
    write_image(tmp_path / "b", ARRAY[0] + 1, **shared)
    shutil.copy(tmp_path / "a", tmp_path / "c")
    index, _ = indexed(tmp_path)
    assert [entry.id for entry in index.entries] == ["a", "b"]
    assert all("sop_uid_reused:2" in entry.issues for entry in index.entries)
    assert [(problem.path, problem.code) for problem in index.problems] == [("c", "duplicate_sop_instance")]
    assert "A copy of a " in index.problems[0].message


@pytest.mark.parametrize("differs", [0, 1])
def test_a_copy_may_be_compressed_in_another_way(tmp_path: Path, differs: int) -> None:
    shared = {"series": "1.2.3", "study": "1.2", "extra": {"SOPInstanceUID": "1.2.3.4"}}
    write_image(tmp_path / "a", ARRAY[0], **shared)
    write_image(tmp_path / "b", ARRAY[0] + differs, syntax="1.2.840.10008.1.2.4.80", **shared)
    index, images = indexed(tmp_path)
    assert len(images) == 1 + differs
    assert [problem.path for problem in index.problems] == ["b"][differs:]


@pytest.mark.parametrize(("keyword", "code"), [("SeriesInstanceUID", "series_uid_per_slice"), ("StudyInstanceUID", "study_uid_per_slice")])
def test_slices_with_a_uid_each_are_one_volume_when_all_else_agrees(tmp_path: Path, keyword: str, code: str) -> None:
    extra = {"FrameOfReferenceUID": "1.9", "SeriesNumber": 4}
    write_series(tmp_path / "s", ARRAY, grid(), study="1.2", extra=lambda k: extra | {keyword: f"1.8.{9 - k}"})
    index, (image,) = indexed(tmp_path)
    assert code + ":7" in index.entries[0].issues
    np.testing.assert_array_equal(image, ARRAY)


@pytest.mark.parametrize(
    "differs", [{"SeriesNumber": 5}, {"SeriesDescription": "other"}, {"FrameOfReferenceUID": "1.10"}, {"PatientID": "p"}]
)
def test_single_slices_that_differ_in_more_than_a_uid_stay_apart(tmp_path: Path, differs: dict[str, object]) -> None:
    extra = {"FrameOfReferenceUID": "1.9", "SeriesNumber": 4, "SeriesDescription": "d"}
    write_series(
        tmp_path, ARRAY, grid(), study="1.2", extra=lambda k: extra | (differs if k > 2 else {}) | {"SeriesInstanceUID": f"1.8.{k}"}
    )
    index, _ = indexed(tmp_path)
    assert sorted(entry.slices for entry in index.entries) == [3, 4]


def test_single_slices_at_odd_distances_stay_apart_and_say_that_there_are_others(tmp_path: Path) -> None:
    extra = {"FrameOfReferenceUID": "1.9", "SeriesNumber": 4}
    write_series(tmp_path, ARRAY, grid(), study="1.2", skip=(2, 3), extra=lambda k: extra | {"SeriesInstanceUID": f"1.8.{k}"})
    index, images = indexed(tmp_path)
    assert len(images) == 5
    assert all(entry.issues == ("single_slice_series:5",) for entry in index.entries)


def test_a_refused_series_keeps_its_uids_and_lists_its_files(tmp_path: Path) -> None:
    write_series(tmp_path / "x" / "scan", ARRAY, grid(), series="1.2.3", study="1.2", skip=(2,))
    (problem,) = Dicom(tmp_path).index().problems
    assert (problem.path, problem.code) == ("x/scan", "nonuniform_spacing")
    assert (problem.study_uid, problem.series_uid) == ("1.2", "1.2.3")
    assert problem.files == tuple(f"x/scan/{k:04d}.dcm" for k in (0, 1, 3, 4, 5, 6))


def test_a_refused_file_keeps_its_uids(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a", ARRAY[0], series="1.2.3", study="1.2")
    path.write_bytes(path.read_bytes()[:-4])
    (problem,) = Dicom(tmp_path).index().problems
    assert (problem.code, problem.study_uid, problem.series_uid, problem.files) == ("truncated", "1.2", "1.2.3", ("a",))


def test_what_is_no_uid_is_not_shown_but_still_tells_series_apart(tmp_path: Path) -> None:
    """A damaged length makes an element hold those after it, names of patients among them."""
    for name, uid in (("a", "1.2\0SH Secret^Name"), ("b", "1.2\0SH Secret^Nama")):
        write_series(tmp_path / name, ARRAY, grid())
        for path in (tmp_path / name).iterdir():
            dataset = pydicom.dcmread(path)
            dataset.add_new("SeriesInstanceUID", "LO", uid)
            dataset.add_new("Modality", "LO", "Secret^Name")
            dataset.add_new("Manufacturer", "LO", "Phantom\0Secret^Name")
            dataset.save_as(path)
    index = Dicom(tmp_path).index()
    assert [entry.slices for entry in index.entries] == [7, 7]
    assert "Secret" not in repr(index)
    assert len({entry.origin.series_uid for entry in index.entries}) == 2
