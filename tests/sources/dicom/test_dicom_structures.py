"""Structure sets and segmentations as truth."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_writer import SECRET, save, write_series
from export_phantoms import GEOMETRIES
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from medood.core.errors import InputError
from medood.core.geometry import Geometry
from medood.evaluation.label_file import write_labels
from medood.export.maps import read_map
from medood.sources.dicom.dicom import Dicom
from medood.sources.dicom.structures import STRUCTURE_SET
from medood.sources.mask_file import read_mask

LPS = np.array([-1.0, -1.0, 1.0])
SERIES = "1.2.3.4"


def circle(geometry: Geometry, number: int, centre: tuple[float, float], radius: float) -> list[float]:
    """A contour around (row, column) of a slice, `radius` pixels across both, as a structure set states it."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    points = [geometry.world((number, centre[0] + radius * np.sin(a), centre[1] + radius * np.cos(a))) * LPS for a in angles]
    return [round(float(value), 4) for point in points for value in point]


def write_structures(path: Path, regions: dict[str, list[list[float]]], series: str = SERIES) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = STRUCTURE_SET, generate_uid()
    dataset.PatientName, dataset.Modality = SECRET, "RTSTRUCT"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), 1):
        item, drawn = Dataset(), Dataset()
        item.ROINumber, item.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints, contour.ContourData = "CLOSED_PLANAR", len(points) // 3, points
            drawn.ContourSequence.append(contour)
        dataset.StructureSetROISequence.append(item)
        dataset.ROIContourSequence.append(drawn)
    frame, study, referred = Dataset(), Dataset(), Dataset()
    referred.SeriesInstanceUID = series
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [referred], [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    save(dataset, path)
    return path


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


@pytest.mark.parametrize("place", GEOMETRIES)
def test_contours_enclose_the_pixels_whose_centres_they_enclose_and_a_contour_within_is_a_hole(place: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES[place]
    outer, inner = circle(geometry, 3, (10, 9), 7.3), circle(geometry, 3, (10, 9), 3.2)
    path = write_structures(tmp_path / "rt.dcm", {"GTV": [outer, inner, circle(geometry, 4, (5, 6), 2.4)]})
    mask = read_mask(path, geometry, "scan")
    expected = np.zeros(geometry.shape, np.uint8)
    expected[3] = disc(geometry.shape[1:], (10, 9), 7.3) & ~disc(geometry.shape[1:], (10, 9), 3.2)
    expected[4] = disc(geometry.shape[1:], (5, 6), 2.4)
    np.testing.assert_array_equal(mask, expected)


def test_of_several_regions_one_has_to_be_chosen(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    path = write_structures(tmp_path / "rt.dcm", {name: [circle(geometry, 3, (9, 9), 4)] for name in ("Lung", "GTV-1")})
    with pytest.raises(InputError, match=r"2 regions, of which not one is chosen: Lung, GTV-1; `medood labels dicom") as raised:
        read_mask(path, geometry, "scan")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("moved", [(0, 0, 9), (0, 0, -0.49)])
def test_contours_of_another_series_are_refused(moved: tuple[float, float, float], tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    tilted = np.array(circle(geometry, 3, (9, 9), 4)).reshape(-1, 3)
    tilted[:, 2] += moved[2] * 4 if moved[2] > 0 else tilted[:, 0]  # beyond the volume, or across slices
    path = write_structures(tmp_path / "rt.dcm", {"GTV": [tilted.ravel().tolist()]})
    with pytest.raises(InputError, match="another series") as raised:
        read_mask(path, geometry, "scan")
    assert raised.value.code == "mask_grid"


@pytest.mark.parametrize("place", [name for name in GEOMETRIES if name != "sheared"])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_segmentations_lie_where_they_were_drawn(kind: str, place: str, tmp_path: Path) -> None:
    geometry = GEOMETRIES[place]
    files = write_series(tmp_path / "scan", np.zeros(geometry.shape, np.uint16), geometry, extra={"FrameOfReferenceUID": "1.2.9"})
    sources = [pydicom.dcmread(file) for file in files]
    for source in sources:
        source.PatientSex, source.StudyDate, source.StudyTime = "", None, None
    mask = np.zeros(geometry.shape, np.uint8)
    mask[2:6, 3:9, 4:15] = mask[7, 1, 1] = 1
    segment = highdicom.seg.SegmentDescription(1, "tumour", codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
    named = ("1.2.5", 1, generate_uid(), 1, "maker", "model", "1", "1")
    made = highdicom.seg.Segmentation(sources, mask * (0.8 if kind == "FRACTIONAL" else 1), kind, [segment], *named)
    made.save_as(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_mask(tmp_path / "seg.dcm", geometry, "scan"), mask)


def test_labels_of_a_series_come_from_the_regions_that_are_asked_for(tmp_path: Path) -> None:
    geometry, root = GEOMETRIES["oblique"], tmp_path / "root"
    array = np.zeros(geometry.shape, np.uint16)
    write_series(root / "ct", array, geometry, series=SERIES)
    write_series(root / "other", array, geometry, series="1.2.3.5")
    regions = {
        "Lung": [circle(geometry, 1, (9, 9), 8)],
        "gtv-1": [circle(geometry, 3, (9, 9), 4)],
        "GTV-2": [circle(geometry, 4, (12, 9), 3)],
    }
    write_structures(root / "rt.dcm", regions)
    source = Dicom(root, lesions="GTV*, ITV")
    left_out = write_labels(source, tmp_path / "labels.csv")
    assert left_out == ()
    rows = [line.split(",") for line in (tmp_path / "labels.csv").read_text().splitlines()]
    assert [row[1] for row in rows if row[0] == "ct" and row[2] == "1"] == ["", "3", "4"]
    assert {row[2] for row in rows if row[0] == "other"} == {""}
    mask, _ = read_map(tmp_path / rows[1][4])
    assert np.flatnonzero(mask.any((1, 2))).tolist() == [3, 4]
    other = next(entry for entry in source.index().entries if entry.id == "other")
    assert "no_labels" in other.issues


def test_two_files_with_the_lesion_are_one_too_many(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    write_series(tmp_path / "ct", np.zeros(geometry.shape, np.uint16), geometry, series=SERIES)
    for name in ("a.dcm", "b.dcm"):
        write_structures(tmp_path / name, {"GTV": [circle(geometry, 3, (9, 9), 4)]})
    index = Dicom(tmp_path, lesions="GTV").index()
    assert index.entries == ()
    assert [problem.code for problem in index.problems] == ["several_masks"]
