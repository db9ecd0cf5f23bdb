"""What a header says about each frame: its place in the patient, and what tells it apart from others at the same place."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from medood.sources.dicom.library import pydicom

# What may tell apart frames that lie at the same place, likeliest first: its name in a single-frame object and in a multi-frame one.
_PHASES = (
    ("TemporalPositionIdentifier", "TemporalPositionIndex"),
    ("EchoTime", "EffectiveEchoTime"),
    ("TriggerTime", "NominalCardiacTriggerDelayTime"),
    ("DiffusionBValue",),
    ("DiffusionGradientOrientation",),
    ("InversionTime", "InversionTimes"),
    ("AcquisitionNumber", "FrameAcquisitionNumber"),
    ("ImageType", "FrameType"),
)

# Functional groups (PS3.3 C.7.6.16) with elements that a single-frame object has at its root.
_FUNCTIONAL_GROUPS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"),
    *("FrameVOILUTSequence", "RealWorldValueMappingSequence", "FrameContentSequence", "TemporalPositionSequence"),
    *("MREchoSequence", "MRDiffusionSequence", "MRModifierSequence", "CardiacSynchronizationSequence"),
    *("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"),
)

HEADER_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "ConcatenationUID"),
    *("PatientID", "Modality", "Manufacturer"),
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "PhotometricInterpretation", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices", "SliceThickness", "RescaleSlope", "RescaleIntercept"),
    *("ImagerPixelSpacing", "NominalScannedPixelSpacing", "BurnedInAnnotation", "LossyImageCompression"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(keyword for phase in _PHASES for keyword in phase),
)

_SPACINGS = (("PixelSpacing", "patient"), ("ImagerPixelSpacing", "imager"), ("NominalScannedPixelSpacing", "imager"))
# A single frame of these kinds is a projection: it stands alone, even if it comes with a position.
_PROJECTIONS = frozenset({"CR", "DX", "MG", "RF", "XA", "IO", "PX", "RG"})
_ALWAYS_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"})
_OFTEN_WITH_TEXT = frozenset({"US", "SC", "OT", "XC", "ES", "PX"})


class MalformedHeader(ValueError):
    """An element whose value cannot be understood; it names the element and never quotes the value."""

    def __init__(self, keyword: str) -> None:
        super().__init__(keyword)
        self.keyword = keyword


@dataclass(frozen=True, slots=True)
class File:
    """What the frames of a file share. `name` is its path as the user sees it; `patient` is an identifier and never leaves the source."""

    path: Path
    name: str
    modality: str
    manufacturer: str
    patient: str = field(repr=False)
    study_uid: str
    series_uid: str
    sop_uid: str
    frames: int
    concatenation: str
    localizer: bool
    issues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies in the patient (PS3.3 C.7.6.2), in millimetres along DICOM's axes: left, posterior, superior.

    position  centre of the first pixel
    across    unit vector along a row, the way the column index grows
    down      unit vector along a column, the way the row index grows
    depth     distance of slices or, if that is not stated, their thickness
    """

    position: tuple[float, float, float]
    across: tuple[float, float, float]
    down: tuple[float, float, float]
    depth: float


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame of a file, as its header describes it; no pixels.

    spacing  millimetres between rows and between columns; `measured` says where: in the "patient", at the "imager" (the detector of a
             radiograph, the scanner of a film), or "nowhere" (then it is 1)
    place    None for a frame without a position in the patient
    stack    the stack that a multi-frame object assigns the frame to, if any
    phase    echo, time, b-value and the like, as text
    rescale  slope and intercept
    """

    file: File
    frame: int
    rows: int
    columns: int
    colour: bool
    spacing: tuple[float, float]
    measured: str
    place: Place | None
    stack: str
    phase: tuple[str, ...]
    rescale: tuple[float, float]


def planes_of(dataset: pydicom.Dataset, path: Path, name: str) -> list[Plane]:
    """The frames that a header describes. Raises MalformedHeader."""
    file = _file_of(FrameHeader(dataset, 0), path, name, dataset.file_meta.TransferSyntaxUID)
    # A position at the root of a multi-frame object would put all its frames at one place.
    placed = "PerFrameFunctionalGroupsSequence" in dataset if file.frames > 1 else file.modality not in _PROJECTIONS
    return [_plane_of(FrameHeader(dataset, frame), file, frame, placed) for frame in range(file.frames)]


@cache
def _tag(keyword: str) -> pydicom.tag.BaseTag:
    return pydicom.tag.Tag(keyword)


class FrameHeader:
    """The header of one frame as a single-frame object would have it: its functional groups, then the shared ones, then the root."""

    def __init__(self, dataset: pydicom.Dataset, frame: int) -> None:
        each = dataset.get("PerFrameFunctionalGroupsSequence") or []
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        groups = (group.get(keyword) for group in (*each[frame : frame + 1], *shared[:1]) for keyword in _FUNCTIONAL_GROUPS)
        self._layers = [*(group[0] for group in groups if group), dataset]

    def get(self, keyword: str) -> Any:
        """The value of an element, None if it is absent."""
        tag = _tag(keyword)
        return next((layer[tag].value for layer in self._layers if tag in layer), None)


def numbers(header: FrameHeader, keyword: str, count: int = 1) -> tuple[float, ...] | None:
    """The first `count` numbers of an element, None if it is absent or empty. Raises MalformedHeader for anything else."""
    try:
        value = header.get(keyword)
        if value is None or value == "" or value == []:
            return None
        found = tuple(float(number) for number in (value if _several(value) else [value])[:count])
    except Exception:  # pydicom quotes the value in what it raises
        found = ()
    if len(found) < count or not all(map(isfinite, found)):
        raise MalformedHeader(keyword)
    return found


def text(header: FrameHeader, *keywords: str) -> str:
    """The first of the elements that has a value, as text; several values are joined by a backslash, as in the file."""
    for keyword in keywords:
        value = header.get(keyword)
        if value is not None and value != "":
            return "\\".join(map(str, value)) if _several(value) else str(value).strip()
    return ""


def _several(value: object) -> bool:
    return isinstance(value, pydicom.multival.MultiValue | list | tuple)


def _file_of(header: FrameHeader, path: Path, name: str, syntax: str) -> File:
    return File(
        path=path,
        name=name,
        modality=text(header, "Modality"),
        manufacturer=text(header, "Manufacturer"),
        patient=text(header, "PatientID"),
        study_uid=text(header, "StudyInstanceUID"),
        series_uid=text(header, "SeriesInstanceUID"),
        sop_uid=text(header, "SOPInstanceUID"),
        frames=max(1, int((numbers(header, "NumberOfFrames") or (1,))[0])),
        concatenation=text(header, "ConcatenationUID"),
        localizer="LOCALIZER" in _image_type(header),
        issues=_issues_of(header, syntax),
    )


def _image_type(header: FrameHeader) -> list[str]:
    return text(header, "ImageType").upper().split("\\")


def _issues_of(header: FrameHeader, syntax: str) -> tuple[str, ...]:
    stated = text(header, "BurnedInAnnotation").upper()
    found = {
        "burned_in": stated == "YES" or (stated != "NO" and text(header, "Modality") in _OFTEN_WITH_TEXT),
        "derived": _image_type(header)[0] == "DERIVED",
        "lossy": text(header, "LossyImageCompression") == "01" or syntax in _ALWAYS_LOSSY,
        "monochrome1_inverted": text(header, "PhotometricInterpretation") == "MONOCHROME1",
    }
    return tuple(issue for issue, present in found.items() if present)


def _plane_of(header: FrameHeader, file: File, frame: int, placed: bool) -> Plane:
    rows, columns, samples = (int((numbers(header, keyword) or (1,))[0]) for keyword in ("Rows", "Columns", "SamplesPerPixel"))
    spacing, measured = _spacing_of(header)
    return Plane(
        file=file,
        frame=frame,
        rows=rows,
        columns=columns,
        colour=samples > 1 or text(header, "PhotometricInterpretation") == "PALETTE COLOR",
        spacing=spacing,
        measured=measured,
        place=_place_of(header) if placed and measured == "patient" else None,
        stack=text(header, "StackID"),
        phase=tuple(text(header, *keywords) for keywords in _PHASES),
        rescale=((numbers(header, "RescaleSlope") or (1.0,))[0], (numbers(header, "RescaleIntercept") or (0.0,))[0]),
    )


def _spacing_of(header: FrameHeader) -> tuple[tuple[float, float], str]:
    for keyword, measured in _SPACINGS:
        spacing = numbers(header, keyword, 2)
        if spacing and min(spacing) > 0:
            return (spacing[0], spacing[1]), measured
    return (1.0, 1.0), "nowhere"


def _place_of(header: FrameHeader) -> Place | None:
    """Position and directions, or None where the header does not give both or the directions are no right angle."""
    position = numbers(header, "ImagePositionPatient", 3)
    directions = numbers(header, "ImageOrientationPatient", 6)
    if position is None or directions is None:
        return None
    across, down = np.array(directions[:3]), np.array(directions[3:])
    lengths = float(np.linalg.norm(across)), float(np.linalg.norm(down))
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(across @ down) > 1e-2:
        return None
    depth = numbers(header, "SpacingBetweenSlices") or numbers(header, "SliceThickness") or (1.0,)
    return Place(position, tuple((across / lengths[0]).tolist()), tuple((down / lengths[1]).tolist()), abs(depth[0]) or 1.0)
