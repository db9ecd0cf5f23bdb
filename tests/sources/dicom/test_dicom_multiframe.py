"""Multi-frame objects: frames in any order, several stacks in one file, cines. highdicom is the second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_writer import write_enhanced, write_image
from pydicom.sequence import Sequence
from test_dicom_series import ARRAY, SHAPE, assert_same_place, grid, only

from medood.sources.dicom.dicom import Dicom

ORDER = [3, 0, 6, 1, 5, 2, 4]
UNLIKE = {"slope": [1.0, 2.0, 0.5, 3.0, 1.5, 2.5, 4.0]}


def transformed(k: int) -> Mapping[str, Mapping[str, Any]]:
    return {
        "PixelValueTransformationSequence": {"RescaleSlope": UNLIKE["slope"][k], "RescaleIntercept": -k, "RescaleType": "US"},
        "FrameVOILUTSequence": {"WindowCenter": 100 + k, "WindowWidth": 50},
    }


@pytest.mark.parametrize("plane", ["axial", "coronal", "oblique"])
def test_frames_are_ordered_by_position(tmp_path: Path, plane: str) -> None:
    write_enhanced(tmp_path / "ct", ARRAY, grid(plane), order=ORDER)
    source = Dicom(tmp_path)
    entry = only(source.index())
    assert (entry.id, entry.slices, len(entry.files), entry.issues) == ("ct", SHAPE[0], 1, ())
    assert entry.origin.sop_uids == (pydicom.dcmread(tmp_path / "ct").SOPInstanceUID,) * SHAPE[0]
    assert_same_place(source.read(entry), ARRAY, grid(plane))


def test_each_frame_has_its_own_rescale_and_window(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "ct", ARRAY, grid(), order=ORDER, frame_extra=transformed)
    source = Dicom(tmp_path)
    volume = source.read(only(source.index()))
    slopes, numbers = np.reshape(UNLIKE["slope"], (-1, 1, 1)), np.arange(SHAPE[0]).reshape(-1, 1, 1)
    np.testing.assert_array_equal(volume.image[0], ARRAY * slopes - numbers)
    assert [voi.centre for voi in volume.voi] == [100.0 + k for k in range(SHAPE[0])]
    assert volume.entry.issues == ("per_slice_rescale",)


@pytest.mark.parametrize("plane", ["axial", "sagittal", "oblique"])
def test_values_and_places_agree_with_highdicom(tmp_path: Path, plane: str) -> None:
    write_enhanced(tmp_path / "ct", ARRAY, grid(plane), order=ORDER, frame_extra=transformed)
    source = Dicom(tmp_path)
    volume = source.read(only(source.index()))
    other = highdicom.imread(tmp_path / "ct").get_volume(dtype=np.float32)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ other.affine  # of (slice, row, column)
    assert_same_place(volume, other.array, to_ras @ np.eye(4)[:, [2, 1, 0, 3]])


def test_groups_that_all_frames_share_count_as_their_own(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "ct", ARRAY, grid(), order=ORDER)
    dataset = pydicom.dcmread(tmp_path / "ct")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = frame.PixelMeasuresSequence, frame.PlaneOrientationSequence
        del frame.PixelMeasuresSequence, frame.PlaneOrientationSequence
    dataset.save_as(tmp_path / "ct")
    source = Dicom(tmp_path)
    assert_same_place(source.read(only(source.index())), ARRAY, grid())


@pytest.mark.parametrize(
    "groups",
    [
        lambda phase: {"MREchoSequence": {"EffectiveEchoTime": [9.0, 10.0][phase]}},
        lambda phase: {
            "TemporalPositionSequence": {"TemporalPositionTimeOffset": 1.0},
            "FrameContentSequence": {"TemporalPositionIndex": 9 + phase},
        },
        lambda phase: {"MRDiffusionSequence": {"DiffusionBValue": [0.0, 1000.0][phase]}},
        lambda phase: {"FrameContentSequence": {"StackID": "ab"[phase], "InStackPositionNumber": 1}},
    ],
    ids=["echo", "time", "b-value", "stack"],
)
def test_volumes_in_one_object_are_taken_apart(tmp_path: Path, groups: Any) -> None:
    double = grid() @ np.diag([1, 1, 0.5, 1])
    both = np.empty((2 * SHAPE[0], *SHAPE[1:]), np.uint16)
    both[::2], both[1::2] = ARRAY, ARRAY + 500

    def affine_of(k: int) -> dict[str, Any]:
        position = (np.diag([-1, -1, 1, 1]) @ grid() @ [0, 0, k // 2, 1])[:3]
        return {"PlanePositionSequence": {"ImagePositionPatient": [float(v) for v in position]}} | groups(k % 2)

    write_enhanced(tmp_path / "mr", both, double, modality="MR", order=list(range(len(both)))[::-1], frame_extra=affine_of)
    source = Dicom(tmp_path)
    first, second = sorted(source.index().entries, key=lambda entry: source.read(entry).image.min())
    assert {first.id, second.id} == {"mr#1", "mr#2"}
    assert_same_place(source.read(first), ARRAY, grid())
    assert_same_place(source.read(second), ARRAY + 500, grid())


def test_a_hole_in_an_object_is_a_problem(tmp_path: Path) -> None:
    def moved(k: int) -> dict[str, Any]:
        return {"PlanePositionSequence": {"ImagePositionPatient": [0, 0, float(k + (k > 3))]}}

    write_enhanced(tmp_path / "ct", ARRAY, grid(), frame_extra=moved)
    index = Dicom(tmp_path).index()
    assert index.entries == ()
    assert index.problems[0].code == "nonuniform_spacing"


def test_parts_of_a_concatenation_are_one_volume(tmp_path: Path) -> None:
    """PS3.3 C.7.6.16.2.2.4: an object too large for one file is cut into several."""
    shared = {"series": "1.2.3", "study": "1.2"}
    for number, part in enumerate((slice(0, 4), slice(4, 7))):
        affine = grid()
        affine[:3, 3] = (affine @ [0, 0, part.start, 1])[:3]
        extra = {"ConcatenationUID": "1.2.3.4", "InConcatenationNumber": number + 1, "FrameOfReferenceUID": "1.2.5"}
        write_enhanced(tmp_path / f"{9 - number}", ARRAY[part], affine, extra=extra, **shared)
    source = Dicom(tmp_path)
    entry = only(source.index())
    assert (entry.slices, len(entry.files)) == (SHAPE[0], 2)
    assert_same_place(source.read(entry), ARRAY, grid())


def test_two_objects_of_a_series_are_two_volumes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_enhanced(tmp_path / name, ARRAY, grid(), series="1.2.3")
    assert [entry.id for entry in Dicom(tmp_path).index().entries] == ["a", "b"]


def test_a_cine_keeps_the_order_of_its_frames(tmp_path: Path) -> None:
    frames = np.stack([ARRAY.astype(np.uint8)] * 3, axis=-1)
    write_image(tmp_path / "us", frames, modality="US", frames=True)
    source = Dicom(tmp_path)
    volume = source.read(only(source.index()))
    np.testing.assert_array_equal(volume.image, frames.transpose(3, 0, 1, 2))
    assert not volume.geometry.in_patient
    assert not volume.geometry.spacing_known


def test_a_position_at_the_root_of_a_multi_frame_object_is_not_the_place_of_its_frames(tmp_path: Path) -> None:
    extra = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [2, 3]}
    write_image(tmp_path / "nm", ARRAY, modality="PT", frames=True, extra=extra)
    source = Dicom(tmp_path)
    entry = only(source.index())
    assert (entry.slices, entry.issues) == (SHAPE[0], ("no_patient_geometry",))
    volume = source.read(entry)
    assert volume.geometry.spacing == (3.0, 2.0, 1.0)
    np.testing.assert_array_equal(volume.image[0], ARRAY)


def test_a_single_frame_with_functional_groups_joins_its_series(tmp_path: Path) -> None:
    for k in range(SHAPE[0]):
        affine = grid()
        affine[:3, 3] = (affine @ [0, 0, k, 1])[:3]
        write_enhanced(tmp_path / "scan" / f"{9 - k}", ARRAY[k : k + 1], affine, series="1.2.3", study="1.2")
    source = Dicom(tmp_path)
    entry = only(source.index())
    assert (entry.id, entry.slices) == ("scan", SHAPE[0])
    assert_same_place(source.read(entry), ARRAY, grid())


def test_empty_functional_groups_are_no_geometry(tmp_path: Path) -> None:
    extra = {"PerFrameFunctionalGroupsSequence": Sequence([]), "SharedFunctionalGroupsSequence": Sequence([])}
    write_image(tmp_path / "x", ARRAY, modality="CT", frames=True, extra=extra)
    assert only(Dicom(tmp_path).index()).issues == ("no_patient_geometry",)
