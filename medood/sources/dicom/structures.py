"""Regions that people drew on a series, from radiotherapy structure sets and segmentations, as a mask on the grid of the series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np

from medood.core.errors import InputError
from medood.core.geometry import Geometry
from medood.core.shield import kind_of, shield
from medood.sources.dicom.elements import FrameHeader, MalformedHeader, numbers, uid
from medood.sources.dicom.library import pydicom, quiet

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
KINDS = (STRUCTURE_SET, SEGMENTATION, LABEL_MAP)

_RAS = np.array([-1.0, -1.0, 1.0])  # DICOM's axes to RAS and back
_OFF = 0.5  # slices by which a contour may lie beside the slice that it is on
_SAME_PLACE = 0.1  # voxels by which a segmentation may be off the grid
_NAMES_SHOWN = 12

Region = Callable[[Geometry], Iterator[tuple[int, np.ndarray]]]
"""From a grid to slice numbers and bool (rows, columns) of what lies there, to be joined."""


class _NotHere(Exception):
    """A region that does not lie on the grid; the words are for a user."""


def read_structures(path: Path, geometry: Geometry, name: str, wanted: Sequence[str] = ()) -> np.ndarray:
    """The regions of a structure set or segmentation, uint8 (slices, rows, columns): 1 within one of them.

    `wanted` are names of regions, in which `*` stands for anything and capitals do not count; without any the file must hold one region.
    Contours are filled by the even-odd rule, so that a contour within another is a hole. Raises InputError naming `name`, the image that
    the regions belong to.
    """
    shown = f"{name} (its mask {path.name})"
    with quiet(), shield(shown, partial(_refused, shown)):
        regions = _regions(pydicom.dcmread(path))
        chosen = _chosen(regions, wanted, shown)
        mask = np.zeros(geometry.shape, np.uint8)
        try:
            for region in chosen:
                for number, inside in regions[region](geometry):
                    mask[number] |= inside
        except _NotHere as error:
            raise InputError(f"{shown}: {error}.", "mask_grid") from None
    return mask


def structures_in(path: Path) -> tuple[str, tuple[str, ...]]:
    """The UID of the series that a file's regions were drawn on, "" if it does not say, and their names; none for another kind of file."""
    with quiet(), shield(path.name):
        header = pydicom.dcmread(path, stop_before_pixels=True, defer_size=4096)
        if header.get("SOPClassUID") not in KINDS:
            return "", ()
        return _drawn_on(header), tuple(_regions(header))


def matching(names: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """The names that one of the wanted ones means."""
    return [name for name in names if any(fnmatchcase(name.casefold(), pattern.strip().casefold()) for pattern in wanted)]


def _refused(shown: str, error: BaseException) -> InputError:
    what = f"the header's {error}" if isinstance(error, MalformedHeader) else f"it cannot be read as one ({kind_of(error)})"
    return InputError(f"{shown}: the structure set or segmentation is damaged: {what}.", "mask_format")


def _chosen(regions: Mapping[str, Region], wanted: Sequence[str], shown: str) -> list[str]:
    if not regions:
        raise InputError(f"{shown}: this DICOM object holds no regions; expected a structure set or a segmentation.", "mask_format")
    chosen = matching(regions, wanted) if wanted else list(regions)
    if chosen and (wanted or len(chosen) == 1):
        return chosen
    names = ", ".join(list(regions)[:_NAMES_SHOWN])
    how = "`medood labels dicom FOLDER --set lesions=NAME` takes one or more of them"
    raise InputError(f"{shown}: it holds {len(regions)} regions, of which not one is chosen: {names}; {how}.", "mask_regions")


def _regions(dataset: pydicom.Dataset) -> dict[str, Region]:
    """Regions by name, of a whole object or of a header alone."""
    kind = dataset.get("SOPClassUID")
    if kind == STRUCTURE_SET:
        contours = {item.ReferencedROINumber: item.get("ContourSequence") or () for item in dataset.get("ROIContourSequence") or ()}
        items = dataset.get("StructureSetROISequence") or ()
        return {str(item.get("ROIName", "")): partial(_filled, contours.get(item.ROINumber, ())) for item in items}
    if kind in (SEGMENTATION, LABEL_MAP):
        items = dataset.get("SegmentSequence") or ()
        numbered = {int(item.SegmentNumber): str(item.get("SegmentLabel", "")) for item in items}
        return {label: partial(_segmented, dataset, number) for number, label in numbered.items() if number}  # 0 is what is left
    return {}


def _drawn_on(header: pydicom.Dataset) -> str:
    """The first series that is referred to."""
    for frame in header.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                return uid(FrameHeader(series, 0), "SeriesInstanceUID")
    for series in header.get("ReferencedSeriesSequence") or ():
        return uid(FrameHeader(series, 0), "SeriesInstanceUID")
    return ""


def _filled(contours: Sequence[pydicom.Dataset], geometry: Geometry) -> Iterator[tuple[int, np.ndarray]]:
    """What closed contours enclose, slice by slice: pixels whose centre lies within or on one, for many are drawn through centres."""
    from skimage.measure import grid_points_in_poly

    to_index = np.linalg.inv(geometry.affine)
    inside: dict[int, np.ndarray] = {}
    for contour in contours:
        if contour.get("ContourGeometricType") != "CLOSED_PLANAR":
            continue
        points = np.array(contour.ContourData, float).reshape(-1, 3) * _RAS
        columns, rows, slices = (np.column_stack([points, np.ones(len(points))]) @ to_index.T)[:, :3].T
        number = round(float(slices.mean()))
        if np.abs(slices - number).max() > _OFF:
            raise _NotHere("a contour does not lie within one slice; it was drawn on another plane or another series")
        if not 0 <= number < geometry.shape[0]:
            raise _NotHere("a contour lies outside the volume; it was drawn on another series")
        within = grid_points_in_poly(geometry.shape[1:], np.column_stack([rows, columns]), binarize=False) > 0
        inside[number] = inside[number] ^ within if number in inside else within
    yield from inside.items()


def _segmented(dataset: pydicom.Dataset, segment: int, geometry: Geometry) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of one segment, on the grid of the volume, whatever way their rows and columns lie."""
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    label_map = dataset.SOPClassUID == LABEL_MAP
    least = 0.5 * float(dataset.get("MaximumFractionalValue", 1)) if dataset.get("SegmentationType") == "FRACTIONAL" else 0.5
    for number, frame in enumerate(frames):
        header = FrameHeader(dataset, number)
        if not label_map and _segment_of(dataset, number) != segment:
            continue
        inside = frame == segment if label_map else frame >= least
        if inside.any():
            yield from _on_grid(inside, header, geometry)


def _segment_of(dataset: pydicom.Dataset, number: int) -> int:
    """The segment of a frame; a segmentation of one segment need not say it of each."""
    each = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for groups in (*each[number : number + 1], *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]):
        found = groups.get("SegmentIdentificationSequence")
        if found:
            return int(found[0].ReferencedSegmentNumber)
    return 1


def _on_grid(inside: np.ndarray, header: FrameHeader, geometry: Geometry) -> Iterator[tuple[int, np.ndarray]]:
    place = _affine_of(header)
    pixels = np.argwhere(inside)
    if place is None:
        if geometry.shape[0] != 1 or inside.shape != geometry.shape[1:]:
            raise _NotHere("it does not say where it lies, and is not of the size of a single image")
        yield 0, inside
        return
    there = np.column_stack([pixels[:, 1], pixels[:, 0], np.zeros(len(pixels)), np.ones(len(pixels))]) @ place.T
    found = (there @ np.linalg.inv(geometry.affine).T)[:, 2::-1]  # index (slice, row, column)
    index = np.rint(found).astype(int)
    if np.abs(found - index).max() > _SAME_PLACE or (index < 0).any() or (index >= geometry.shape).any():
        raise _NotHere("its voxels are not those of the image; resample it")
    for number in np.unique(index[:, 0]):
        turned = np.zeros(geometry.shape[1:], bool)
        turned[tuple(index[index[:, 0] == number, 1:].T)] = True
        yield int(number), turned


def _affine_of(header: FrameHeader) -> np.ndarray | None:
    """From (column, row, 0, 1) of a frame to RAS millimetres; None where the header does not give it."""
    position, directions = numbers(header, "ImagePositionPatient", 3), numbers(header, "ImageOrientationPatient", 6)
    spacing = numbers(header, "PixelSpacing", 2)
    if position is None or directions is None or spacing is None:
        return None
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(directions[:3], spacing[1]) * _RAS
    affine[:3, 1] = np.multiply(directions[3:], spacing[0]) * _RAS
    affine[:3, 3] = np.array(position) * _RAS
    return affine
