"""What a header says about each frame: its place in the patient, and what tells it apart from others at the same place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medood.sources.dicom.elements import FrameHeader, MalformedHeader, numbers, text, uid, word
from medood.sources.dicom.layout import Layout
from medood.sources.dicom.library import pydicom
from medood.sources.kind import body_part, view, weighting_in

# What may tell apart frames that lie at the same place, likeliest first: its name in a single-frame object and in a multi-frame one.
PHASES = (
    ("TemporalPositionIdentifier", "TemporalPositionIndex"),
    ("EchoTime", "EffectiveEchoTime"),
    ("TriggerTime", "NominalCardiacTriggerDelayTime"),
    ("DiffusionBValue",),
    ("DiffusionGradientOrientation",),
    ("InversionTime", "InversionTimes"),
    ("AcquisitionNumber", "FrameAcquisitionNumber"),
    ("ImageType", "FrameType"),
    ("SequenceName",),
    ("FrameReferenceTime", "FrameReferenceDateTime"),
    ("AcquisitionDateTime", "FrameAcquisitionDateTime"),
    ("AcquisitionTime",),
    ("ContentTime",),
)
CLOCKS = range(9, len(PHASES))  # those of them that are times of day or of the scan
_MOST_DIMENSIONS = 6

HEADER_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "ConcatenationUID"),
    *("PatientID", "Modality", "Manufacturer", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "ViewPosition", "KVP"),
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "PlanarConfiguration", "PixelSpacing"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RedPaletteColorLookupTableDescriptor", "ModalityLUTSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices", "SliceThickness", "RescaleSlope", "RescaleIntercept"),
    *("ImagerPixelSpacing", "NominalScannedPixelSpacing", "BurnedInAnnotation", "LossyImageCompression"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(keyword for phase in PHASES for keyword in phase),
)

_SPACINGS = (("PixelSpacing", "patient"), ("ImagerPixelSpacing", "imager"), ("NominalScannedPixelSpacing", "imager"))
# A single frame of these kinds is a projection: it stands alone, even if it comes with a position.
_PROJECTIONS = frozenset({"CR", "DX", "MG", "RF", "XA", "IO", "PX", "RG"})
_CODE = re.compile(r"[A-Z0-9 _]{0,16}")
# The Defined Terms of PS3.3 C.7.3.1.1.1, then those that are retired.
_MODALITIES = frozenset(
    (
        *("AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CR", "CT", "CTPROTOCOL", "DG", "DOC", "DX", "ECG", "EPS", "ES", "FID"),
        *("GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LS", "MG", "MR", "M3D", "NM", "OAM", "OCT"),
        *("OP", "OPM", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA", "POS", "PLAN", "PR", "PT", "PX", "REG", "RESP"),
        *("RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG"),
        *("SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "XA", "XAPROTOCOL", "XC"),
        *("AS", "CD", "CF", "CP", "CS", "DD", "DF", "DM", "DS", "EC", "FA", "FS", "LP", "MA", "MS", "OPR", "ST", "VF"),
    )
)
_FARTHEST = 1e6  # mm
_ALWAYS_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"})
_OFTEN_WITH_TEXT = frozenset({"US", "SC", "OT", "XC", "ES", "PX"})


@dataclass(frozen=True, slots=True)
class File:
    """What the frames of a file share. `name` is its path as the user sees it.

    `patient` and `description` may name a person and never leave the source.
    """

    path: Path
    name: str
    modality: str
    manufacturer: str
    weighting: str
    body_part: str
    view: str
    kvp: float
    patient: str = field(repr=False)
    study_uid: str
    series_uid: str
    frame_of_reference: str
    sop_uid: str
    number: str
    description: str = field(repr=False)
    syntax: str
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
    phase    echo, time, b-value and the like, as text: the elements of PHASES, then the indices that a multi-frame object gives the frame
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


def planes_of(dataset: pydicom.Dataset, path: Path, name: str, layout: Layout) -> list[Plane]:
    """The frames that a header describes. Raises MalformedHeader."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups and len(groups) != layout.frames:
        raise MalformedHeader("PerFrameFunctionalGroupsSequence", f"describes {len(groups)} frames, but NumberOfFrames is {layout.frames}")
    file = _file_of(FrameHeader(dataset, 0), path, name, dataset.file_meta.TransferSyntaxUID, layout)
    # A position at the root of a multi-frame object would put all its frames at one place.
    placed = groups is not None if file.frames > 1 else file.modality not in _PROJECTIONS
    return [_plane_of(FrameHeader(dataset, frame), file, frame, placed, layout) for frame in range(file.frames)]


def _file_of(header: FrameHeader, path: Path, name: str, syntax: str, layout: Layout) -> File:
    return File(
        path=path,
        name=name,
        modality=_modality(header),
        manufacturer=word(header, "Manufacturer"),
        weighting=weighting_in(text(header, "SeriesDescription")) if _modality(header) == "MR" else "",
        body_part=body_part(_code(header, "BodyPartExamined")),
        view=view(_code(header, "ViewPosition")),
        kvp=(numbers(header, "KVP") or (0.0,))[0],
        patient=text(header, "PatientID"),
        study_uid=uid(header, "StudyInstanceUID"),
        series_uid=uid(header, "SeriesInstanceUID"),
        frame_of_reference=uid(header, "FrameOfReferenceUID"),
        sop_uid=uid(header, "SOPInstanceUID"),
        number=text(header, "SeriesNumber"),
        description=text(header, "SeriesDescription"),
        syntax=str(syntax),
        frames=layout.frames,
        concatenation=text(header, "ConcatenationUID"),
        localizer="LOCALIZER" in _image_type(header),
        issues=_issues_of(header, syntax, layout),
    )


def _modality(header: FrameHeader) -> str:
    """Modality, empty for none that the standard defines: a short name of a person is a code string too."""
    found = text(header, "Modality")
    return found if found in _MODALITIES else ""


def _code(header: FrameHeader, keyword: str) -> str:
    """A code string (PS3.5 section 6.2), empty for what is none."""
    found = text(header, keyword)
    return found if _CODE.fullmatch(found) else ""


def _image_type(header: FrameHeader) -> list[str]:
    return text(header, "ImageType").upper().split("\\")


def _issues_of(header: FrameHeader, syntax: str, layout: Layout) -> tuple[str, ...]:
    stated = text(header, "BurnedInAnnotation").upper()
    found = {
        "burned_in": stated == "YES" or (stated != "NO" and text(header, "Modality") in _OFTEN_WITH_TEXT),
        "derived": _image_type(header)[0] == "DERIVED",
        "lossy": text(header, "LossyImageCompression") == "01" or syntax in _ALWAYS_LOSSY,
        "monochrome1_inverted": layout.photometric == "MONOCHROME1",
    }
    return (*(issue for issue, present in found.items() if present), *layout.issues)


def _plane_of(header: FrameHeader, file: File, frame: int, placed: bool, layout: Layout) -> Plane:
    spacing, measured = _spacing_of(header)
    return Plane(
        file=file,
        frame=frame,
        rows=layout.rows,
        columns=layout.columns,
        colour=layout.samples > 1 or layout.photometric == "PALETTE COLOR",
        spacing=spacing,
        measured=measured,
        place=_place_of(header) if placed and measured == "patient" else None,
        stack=text(header, "StackID"),
        phase=(*(text(header, *keywords) for keywords in PHASES), *_dimensions(header)),
        rescale=((numbers(header, "RescaleSlope") or (1.0,))[0], (numbers(header, "RescaleIntercept") or (0.0,))[0]),
    )


def _dimensions(header: FrameHeader) -> list[str]:
    """The place of the frame along each dimension that a multi-frame object names, as text (PS3.3 C.7.6.17)."""
    found = text(header, "DimensionIndexValues").split("\\")[:_MOST_DIMENSIONS]
    return found + [""] * (_MOST_DIMENSIONS - len(found))


def _spacing_of(header: FrameHeader) -> tuple[tuple[float, float], str]:
    for keyword, measured in _SPACINGS:
        spacing = numbers(header, keyword, 2)
        if spacing and max(spacing) > _FARTHEST:
            raise MalformedHeader(keyword)
        if spacing and min(spacing) > 0:
            return (spacing[0], spacing[1]), measured
    return (1.0, 1.0), "nowhere"


def _place_of(header: FrameHeader) -> Place | None:
    """Position and directions, or None where the header does not give both or the directions are no right angle."""
    position = numbers(header, "ImagePositionPatient", 3)
    directions = numbers(header, "ImageOrientationPatient", 6)
    if position is None or directions is None:
        return None
    if max(map(abs, position)) > _FARTHEST:
        raise MalformedHeader("ImagePositionPatient")
    across, down = np.array(directions[:3]), np.array(directions[3:])
    lengths = float(np.linalg.norm(across)), float(np.linalg.norm(down))
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(across @ down) > 1e-2:
        return None
    depth = numbers(header, "SpacingBetweenSlices") or numbers(header, "SliceThickness") or (1.0,)
    return Place(_three(position), _three((across / lengths[0]).tolist()), _three((down / lengths[1]).tolist()), abs(depth[0]) or 1.0)


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z
