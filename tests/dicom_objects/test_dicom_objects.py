"""What the objects say and where they lie. They are read with pydicom alone here, so that no writer checks itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_writer import SECRET
from export_phantoms import LESION
from findings import BY, KINDS, NARROW, PLACES, finding_of, of_run, read_kind, write_kind
from pydicom.dataset import Dataset

from medood.core.errors import InputError
from medood.dicom_objects.kinds import KINDS as OBJECTS
from medood.dicom_objects.object_folder import ObjectFolder
from medood.dicom_objects.picture_object import drawn
from medood.sources.dicom.dicom import Dicom

LPS = np.array([-1.0, -1.0, 1.0])
PLACED = (*PLACES, "enhanced")


class Made:
    """The objects of one kind of source."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder, self.root = folder, write_kind(folder / "images", kind)
        self.volume = read_kind(self.root)
        self.finding = finding_of(self.volume)
        self.left_out = ObjectFolder(folder / "objects").add(self.finding)

    def __getitem__(self, kind: str) -> Dataset:
        (line,) = map(json.loads, (self.folder / "objects/objects.jsonl").read_text().splitlines())
        return pydicom.dcmread(self.folder / "objects" / line["files"][kind])

    def files(self) -> list[Path]:
        return sorted((self.folder / "objects").rglob("*.dcm"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    known: dict[str, Made] = {}

    def make(kind: str) -> Made:
        if kind not in known:
            known[kind] = Made(kind, tmp_path_factory.mktemp(kind))
        return known[kind]

    return make


def frames_of(dataset: Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pixels of each frame, and its affine from (column, row, 0, 1) to LPS, from the elements themselves."""
    if "FloatPixelData" in dataset:
        pixels = np.frombuffer(dataset.FloatPixelData, "<f4")
    else:
        bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
        pixels = bits[: int(dataset.NumberOfFrames) * dataset.Rows * dataset.Columns]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    directions = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, pixels.reshape(-1, dataset.Rows, dataset.Columns), strict=True):
        affine = np.zeros((3, 4))
        affine[:, 0], affine[:, 1] = directions[:3] * between_columns, directions[3:] * between_rows
        affine[:, 3] = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        found.append((frame, affine))
    return found


def places(dataset: Dataset, least: float) -> np.ndarray:
    """LPS millimetres of every voxel with at least this value."""
    points = []
    for frame, affine in frames_of(dataset):
        rows, columns = np.nonzero(frame >= least)
        points.append(np.column_stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)]) @ affine.T)
    return np.concatenate(points)


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy is not installed (Debian: dicom3tools)")
@pytest.mark.parametrize("kind", KINDS)
def test_the_checker_of_the_standard_finds_no_error(kind: str, made: Any) -> None:
    files = made(kind).files()
    assert len(files) == 5 - len(made(kind).left_out)
    for file in files:
        said = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False).stderr
        assert [line for line in said.splitlines() if line.startswith("Error")] == [], file.name


@pytest.mark.parametrize("kind", PLACED)
def test_map_and_region_lie_where_the_lesion_is(kind: str, made: Any) -> None:
    geometry = made(kind).volume.geometry
    lesion = geometry.world(LESION) * LPS
    np.testing.assert_allclose(places(made(kind)["map"], 0.9999), [lesion], atol=1e-3)
    index = np.argwhere(made(kind).finding.heat.region)
    expected = np.array([geometry.world(voxel) for voxel in index]) * LPS
    found = places(made(kind)["segmentation"], 1)
    assert len(found) == len(expected)
    order = [np.lexsort(np.round(points, 2).T) for points in (found, expected)]
    np.testing.assert_allclose(found[order[0]], expected[order[1]], atol=1e-3)


@pytest.mark.parametrize("kind", [kind for kind in PLACED if kind != "sheared"])
def test_another_reader_finds_the_map_in_place(kind: str, made: Any) -> None:
    found = highdicom.imread(_file(made(kind), "map")).get_volume()
    peak = np.unravel_index(np.argmax(found.array), found.array.shape)
    np.testing.assert_allclose(
        found.map_indices_to_reference(np.array([peak]))[0], made(kind).volume.geometry.world(LESION) * LPS, atol=1e-3
    )


def _file(made: Made, kind: str) -> Path:
    return next(file for file in made.files() if file.stem == kind)


@pytest.mark.parametrize("kind", PLACED)
def test_the_frames_of_the_map_ascend_along_their_normal(kind: str, made: Any) -> None:
    affines = [affine for _, affine in frames_of(made(kind)["map"])]
    normal = np.cross(affines[0][:, 0], affines[0][:, 1])
    assert (np.diff([affine[:, 3] @ normal for affine in affines]) > 0).all()
    assert "FrameAnatomySequence" in made(kind)["map"].SharedFunctionalGroupsSequence[0]
    indices = [frame.FrameContentSequence[0].DimensionIndexValues for frame in made(kind)["map"].PerFrameFunctionalGroupsSequence]
    assert np.ravel(indices).tolist() == list(range(1, len(affines) + 1))


@pytest.mark.parametrize("kind", PLACED)
def test_each_frame_refers_to_the_slice_that_it_is_of(kind: str, made: Any) -> None:
    sources = {}
    for file in made(kind).root.rglob("*"):
        if file.is_file():
            header = pydicom.dcmread(file)
            groups = header.get("PerFrameFunctionalGroupsSequence")
            positions = [group.PlanePositionSequence[0] for group in groups] if groups else [header]
            for number, position in enumerate(positions, 1):
                sources[header.SOPInstanceUID, number if groups else None] = position.ImagePositionPatient, header.SOPClassUID
    for name in ("map", "segmentation"):
        for group in made(kind)[name].PerFrameFunctionalGroupsSequence:
            (item,) = group.DerivationImageSequence[0].SourceImageSequence
            position, sop_class = sources[item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber")]
            np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient, position, atol=1e-3)
            assert item.ReferencedSOPClassUID == sop_class
        referred = [item.ReferencedSOPInstanceUID for item in made(kind)[name].SourceImageSequence]
        assert sorted(referred) == sorted({uid for uid, _ in sources})
    assert made(kind)["map"].FrameOfReferenceUID == made(kind)["segmentation"].FrameOfReferenceUID


@pytest.mark.parametrize("kind", ["radiograph", "colour"])
def test_a_single_image_without_a_place_has_a_segmentation_on_its_own_pixels(kind: str, made: Any) -> None:
    assert set(made(kind).left_out) == {"map"}
    segmentation = made(kind)["segmentation"]
    assert (segmentation.Rows, segmentation.Columns, "FrameOfReferenceUID" in segmentation) == (40, 60, False)
    assert "PixelMeasuresSequence" not in segmentation.SharedFunctionalGroupsSequence[0]  # nobody knows its millimetres
    np.testing.assert_array_equal(segmentation.pixel_array, made(kind).finding.heat.region[0])
    assert (
        made(kind)["segmentation"].SourceImageSequence[0].ReferencedSOPClassUID
        == pydicom.dcmread(made(kind).volume.entry.files[0]).SOPClassUID
    )


def test_frames_that_lie_nowhere_still_have_report_picture_and_key_objects(made: Any) -> None:
    assert set(made("cine").left_out) == {"segmentation", "map"}
    assert all("where its frames lie" in reason for reason in made("cine").left_out.values())
    chosen = [item.ReferencedSOPSequence[0] for item in made("cine")["key_objects"].ContentSequence if item.ValueType == "IMAGE"]
    assert [item.ReferencedFrameNumber for item in chosen] == [number + 1 for number in made("cine").finding.hottest]


def content(dataset: Dataset) -> list[Dataset]:
    items = list(dataset.get("ContentSequence") or ())
    return [item for each in items for item in (each, *content(each))]


def numbers_in(report: Dataset) -> list[tuple[str, float]]:
    items = [item for item in content(report) if item.ValueType == "NUM"]
    return [(item.ConceptNameCodeSequence[0].CodeMeaning, float(item.MeasuredValueSequence[0].NumericValue)) for item in items]


def test_the_report_says_what_the_run_said(made: Any) -> None:
    report, finding = made("oblique")["report"], made("oblique").finding
    assert numbers_in(report)[:5] == [
        ("Anomaly score", 0.812346),
        ("P-Value", 0.0125),
        ("Threshold of the anomaly score", 0.6),
        ("False-alarm rate at the threshold", 10.0),
        ("Share of the body that was examined", 75.0),
    ]
    texts = {item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue for item in content(report) if item.ValueType == "TEXT"}
    assert texts["Algorithm Name"] == "medood vae"
    assert texts["Algorithm Version"] == BY.medood
    assert BY.checksum in texts["Algorithm Parameters"]
    assert texts["Comment"].startswith("Research, not for diagnosis. 25.0% was not examined")
    codes = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in content(report) if item.ValueType == "CODE"}
    assert codes["Decision of the anomaly detector"].ConceptCodeSequence[0].CodeMeaning == "Abnormal"
    volume = dict(numbers_in(report))["Volume"]
    assert volume == pytest.approx(finding.heat.region.sum() * np.prod(finding.volume.geometry.spacing), rel=1e-4)


def test_the_hottest_slices_are_referred_to_with_their_own_numbers(made: Any) -> None:
    report, finding = made("axial")["report"], made("axial").finding
    heat, uids = finding.heat, finding.volume.entry.origin.sop_uids
    assert LESION[0] in finding.hottest
    assert all(heat.array[number].max() >= NARROW.threshold for number in finding.hottest)
    groups = [item for item in content(report) if item.ValueType == "CONTAINER"]
    told = {}
    for group in groups:
        children = list(group.get("ContentSequence") or ())
        name = next((c.TextValue for c in children if c.ValueType == "TEXT" and c.TextValue.startswith("slice ")), None)
        if name:
            scores = [v for n, v in numbers_in(group) if n == "Anomaly score"]
            image = next(item for item in content(group) if item.ValueType == "IMAGE")
            told[int(name.split()[1])] = scores, image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert told == {number: ([number / 100], uids[number]) for number in finding.hottest}


@pytest.mark.parametrize(
    ("decision", "words"), [("normal", "Normal"), ("out_of_domain", "Out of domain: not to be judged"), ("", "No decision on the whole")]
)
def test_every_decision_has_its_words(decision: str, words: str, made: Any, tmp_path: Path) -> None:
    finding = finding_of(made("axial").volume, decision=decision)
    left_out = ObjectFolder(tmp_path / "objects").add(finding)
    report = pydicom.dcmread(next((tmp_path / "objects").rglob("report.dcm")))
    codes = [item.ConceptCodeSequence[0].CodeMeaning for item in content(report) if item.ValueType == "CODE"]
    assert words in codes
    assert left_out == ({"key_objects": "it was called normal"} if decision == "normal" else {})


def test_a_detector_without_maps_has_a_report_and_key_objects_of_the_highest_scores(made: Any, tmp_path: Path) -> None:
    finding = finding_of(made("axial").volume, maps=False)
    left_out = ObjectFolder(tmp_path / "objects").add(finding)
    assert set(left_out) == {"segmentation", "picture", "map"}
    keys = pydicom.dcmread(next((tmp_path / "objects").rglob("key_objects.dcm")))
    chosen = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in content(keys) if item.ValueType == "IMAGE"]
    assert chosen == list(finding.volume.entry.origin.sop_uids[6:])


def test_nothing_above_the_threshold_is_no_segmentation(made: Any, tmp_path: Path) -> None:
    finding = finding_of(made("axial").volume)
    finding.heat.array[:] *= 0.2
    assert "segmentation" in ObjectFolder(tmp_path / "objects").add(finding)
    assert "Volume" not in dict(numbers_in(pydicom.dcmread(next((tmp_path / "objects").rglob("report.dcm")))))


def test_scoring_twice_doubles_nothing_and_another_run_is_another_object(made: Any, tmp_path: Path) -> None:
    first = {file.stem: pydicom.dcmread(file).SOPInstanceUID for file in made("axial").files()}
    finding = finding_of(read_kind(made("axial").root))
    ObjectFolder(tmp_path / "again").add(finding)
    ObjectFolder(tmp_path / "other").add(of_run(finding, "cd" * 32))
    again, other = (
        {file.stem: pydicom.dcmread(file).SOPInstanceUID for file in (tmp_path / name).rglob("*.dcm")} for name in ("again", "other")
    )
    assert again == first
    assert not set(other.values()) & set(first.values())
    assert len({*first.values(), *other.values()}) == 10


def test_objects_belong_to_the_patient_and_the_study_and_say_no_more_of_a_person(made: Any) -> None:
    source = pydicom.dcmread(made("axial").volume.entry.files[0])
    assert set(OBJECTS) == {file.stem for file in made("axial").files()}
    for kind in OBJECTS:
        dataset = made("axial")[kind]
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID", "StudyID"):
            assert dataset[keyword].value == source[keyword].value, kind
        named = {element.keyword for element in dataset.iterall() if str(element.value) == SECRET}
        assert named <= {"PatientName", "PatientID", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName"}
        assert "(RESEARCH)" in dataset.SeriesDescription
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
        assert dataset.get("ContentQualification", "RESEARCH") == "RESEARCH"


def test_no_identifier_is_drawn_into_the_picture(tmp_path: Path) -> None:
    pictures = []
    for name in ("A^B", "Someone^Else"):
        root = write_kind(tmp_path / name.replace("^", "_") / "scan", "axial", PatientName=name, PatientID=name)
        source = Dicom(root)
        pictures.append(drawn(finding_of(source.read(source.index().entries[0]))))
    np.testing.assert_array_equal(*pictures)


def test_the_picture_is_that_of_the_overlay_under_a_line(made: Any) -> None:
    picture = made("axial")["picture"]
    np.testing.assert_array_equal(picture.pixel_array, drawn(made("axial").finding))
    assert (picture.BurnedInAnnotation, picture.PhotometricInterpretation, list(picture.PatientOrientation)) == ("NO", "RGB", ["L", "P"])
    assert made("colour")["picture"].BurnedInAnnotation == "YES"  # a photograph may hold a name


def test_values_that_the_standard_forbids_are_copied_as_they_are(tmp_path: Path) -> None:
    root = write_kind(tmp_path / "images", "axial")
    for file in root.iterdir():
        dataset = pydicom.dcmread(file)
        for keyword, words in (("PatientName", "no caret"), ("PatientSex", "Male"), ("AccessionNumber", "far longer than sixteen letters")):
            dataset.add_new(keyword, dataset[keyword].VR if keyword in dataset else "CS", words)
        dataset.add_new("PatientBirthDate", "DA", "19703112")
        dataset.save_as(file)
    left_out = ObjectFolder(tmp_path / "objects").add(finding_of(read_kind(root)))
    assert left_out == {}
    for file in (tmp_path / "objects").rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        assert (dataset.PatientName, dataset.PatientSex, dataset.PatientBirthDate) == ("no caret", "Male", "19703112")


@pytest.mark.parametrize("missing", ["SOPInstanceUID", "StudyInstanceUID"])
def test_without_uids_nothing_can_be_referred_to(missing: str, tmp_path: Path) -> None:
    root = write_kind(tmp_path / "images", "axial")
    for file in root.iterdir():
        dataset = pydicom.dcmread(file)
        del dataset[missing]
        pydicom.dcmwrite(file, dataset)
    with pytest.raises(InputError, match="refer to what was scored") as raised:
        ObjectFolder(tmp_path / "objects").add(finding_of(read_kind(root)))
    assert raised.value.code == "no_sop_uid"
    assert SECRET not in str(raised.value)
    assert not list((tmp_path / "objects").rglob("*.dcm"))


@pytest.mark.parametrize(("given", "words"), [(None, "no frame of reference"), ("", "no frame of reference")])
def test_without_a_frame_of_reference_only_what_lies_in_space_is_left_out(given: str | None, words: str, tmp_path: Path) -> None:
    root = write_kind(tmp_path / "images", "axial", FrameOfReferenceUID=given)
    left_out = ObjectFolder(tmp_path / "objects").add(finding_of(read_kind(root)))
    assert set(left_out) == {"segmentation", "map"}
    assert all(words in reason for reason in left_out.values())


def test_objects_made_here_are_not_scored(made: Any) -> None:
    index = Dicom(made("axial").folder / "objects").index()
    assert index.entries == ()
    assert {problem.code for problem in index.problems} == {"own_object", "not_dicom"}


def test_a_second_call_takes_the_objects_of_the_first_away_and_resuming_keeps_them(made: Any, tmp_path: Path) -> None:
    finding, folder = finding_of(made("axial").volume), tmp_path / "objects"
    ObjectFolder(folder, kinds=("report",)).add(finding)
    (folder / "mine.txt").write_text("kept")
    ObjectFolder(folder, kinds=("key_objects",), resume=True)
    assert [file.name for file in folder.rglob("*.dcm")] == ["report.dcm"]
    ObjectFolder(folder, kinds=("key_objects",))
    assert [file.name for file in folder.rglob("*")] == ["mine.txt"]
