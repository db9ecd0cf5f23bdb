"""The slices of a series as other objects refer to them, and headers of them that say what an object made of them must say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from medood.core.errors import InputError
from medood.core.shield import kind_of, shield
from medood.core.volume import Entry, Volume
from medood.dicom_objects.kinds import NO_DICOM
from medood.dicom_objects.library import pydicom
from medood.sources.dicom.elements import FrameHeader, numbers, uid
from medood.sources.dicom.entries import DicomEntry

_CT, _SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
_STAND_IN = "2.25."
_BLANK = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
# What makes an object one of the patient and of the study (PS3.3 C.7.1.1, C.7.2), and no more of a person than that.
_KEPT = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    "ReferringPhysicianName",
)


@dataclass(frozen=True)
class Slice:
    """One slice: its instance, and its frame, from 1, in a multi-frame one. The numbers are as the header has them."""

    sop_class: str
    sop_uid: str
    series_uid: str
    frame: int | None
    frame_of_reference: str
    position: tuple[float, ...] | None
    directions: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class SourceSlices:
    """The slices of a volume in their order. `header` is that of the first one, with all that names the patient; handle with care."""

    volume: Volume
    header: pydicom.Dataset
    slices: tuple[Slice, ...]

    @property
    def misplaced(self) -> str:
        """Why nothing that lies in the patient can be made of the slices; empty if it can."""
        if len({each.series_uid for each in self.slices}) > 1:
            return "its slices have several series UIDs, and an image can be derived from one series only"
        if not self.volume.geometry.in_patient:
            return "" if len(self.slices) == 1 else "nothing says where its frames lie in the patient"
        frames = {each.frame_of_reference for each in self.slices}
        if "" in frames:
            return "its slices have no frame of reference UID, so that nothing else can lie in the same place"
        return "its slices have several frames of reference" if len(frames) > 1 else ""

    @cached_property
    def instances(self) -> list[pydicom.Dataset]:
        """A header for each instance, once, by which documents refer to it."""
        once = {each.sop_uid: each for each in self.slices}
        return [self._plain(each.sop_class, each.sop_uid, each.series_uid) for each in once.values()]

    @cached_property
    def planes(self) -> list[pydicom.Dataset]:
        """A header for each slice as if it were an image of one frame, whatever it is; `refer` then names what it is in truth."""
        kind = _CT if self.volume.geometry.in_patient else _SECONDARY_CAPTURE
        return [self._plane(self._plain(kind, f"{_STAND_IN}{k}", self.slices[0].series_uid), k) for k in range(len(self.slices))]

    def refer(self, made: pydicom.Dataset) -> None:
        """Make an object that was derived from `planes` refer to the slices that they stand for."""
        for item in _items(made):
            stands_for = str(item.get("ReferencedSOPInstanceUID", "")).removeprefix(_STAND_IN)
            if stands_for.isdigit() and int(stands_for) < len(self.slices) and f"{_STAND_IN}{stands_for}" == item.ReferencedSOPInstanceUID:
                source = self.slices[int(stands_for)]
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.sop_class, source.sop_uid
                if source.frame is not None and "PurposeOfReferenceCodeSequence" in item:
                    item.ReferencedFrameNumber = source.frame
        made.SourceImageSequence = _once(made.SourceImageSequence)
        for series in made.get("ReferencedSeriesSequence", ()):
            series.ReferencedInstanceSequence = _once(series.ReferencedInstanceSequence)

    def adopt(self, made: pydicom.Dataset) -> None:
        """Make an object one of this patient and study, in the words of the header, whatever they are."""
        for keyword in _KEPT:
            if keyword in self.header:
                made[keyword] = self.header[keyword]

    def _plain(self, kind: str, sop_uid: str, series_uid: str) -> pydicom.Dataset:
        plain = pydicom.Dataset()
        for keyword in _BLANK:
            setattr(plain, keyword, "")
        plain.StudyDate = plain.StudyTime = None
        plain.StudyInstanceUID, plain.SeriesInstanceUID = uid(FrameHeader(self.header, 0), "StudyInstanceUID"), series_uid
        plain.SOPClassUID, plain.SOPInstanceUID = kind, sop_uid
        plain.Rows, plain.Columns = self.volume.geometry.shape[1:]
        return plain

    def _plane(self, plain: pydicom.Dataset, k: int) -> pydicom.Dataset:
        geometry = self.volume.geometry
        between_columns, between_rows, between_slices = geometry.spacing
        if geometry.in_patient or geometry.spacing_known:
            plain.PixelSpacing = [between_rows, between_columns]
        if geometry.in_patient:
            place = self.slices[k]
            plain.FrameOfReferenceUID = self.slices[0].frame_of_reference
            plain.ImagePositionPatient, plain.ImageOrientationPatient = list(place.position or ()), list(self.slices[0].directions or ())
            plain.SliceThickness = between_slices
        return plain


def source_slices(volume: Volume) -> SourceSlices:
    """The slices of a volume that was read from DICOM files. Raises InputError, with a code, when nothing could refer to them."""
    entry = volume.entry
    if not (isinstance(entry, DicomEntry) and entry.frames):
        raise InputError(f"{entry.id}: this is no DICOM series, so there is no study that objects could belong to.", NO_DICOM)
    with shield(entry.id, lambda error: InputError(f"{entry.id}: a header cannot be read again ({kind_of(error)}).", "unreadable")):
        headers = [pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in entry.files]
        slices = tuple(_slice(headers[file], frame) for file, frame in entry.frames)
        studies = {uid(FrameHeader(header, 0), "StudyInstanceUID") for header in headers}
    _check(entry, slices, studies)
    return SourceSlices(volume, headers[entry.frames[0][0]], slices)


def _check(entry: Entry, slices: Sequence[Slice], studies: set[str]) -> None:
    """Raises InputError where an object could not say what it was made of."""
    nameless = sum(not (_is_uid(each.sop_uid) and _is_uid(each.sop_class) and _is_uid(each.series_uid)) for each in slices)
    if nameless or not all(map(_is_uid, studies)):
        count = f"{nameless} of {len(slices)} slices have no SOP class, instance or series UID" if nameless else "there is no study UID"
        raise InputError(f"{entry.id}: {count}, so nothing can refer to what was scored.", "no_sop_uid")
    if len(studies) > 1:
        raise InputError(
            f"{entry.id}: its slices have {len(studies)} study UIDs, and an object belongs to one study.", "study_uid_per_slice"
        )
    repeated = [uid for uid, count in Counter((each.sop_uid, each.frame) for each in slices).items() if count > 1]
    if repeated:
        raise InputError(f"{entry.id}: {len(repeated)} SOP instance UIDs are used for several slices.", "sop_uid_reused")


def _slice(header: pydicom.Dataset, frame: int) -> Slice:
    each = FrameHeader(header, frame)
    return Slice(
        sop_class=uid(each, "SOPClassUID"),
        sop_uid=uid(each, "SOPInstanceUID"),
        series_uid=uid(each, "SeriesInstanceUID"),
        frame=frame + 1 if (numbers(each, "NumberOfFrames") or (1.0,))[0] > 1 else None,
        frame_of_reference=uid(each, "FrameOfReferenceUID"),
        position=numbers(each, "ImagePositionPatient", 3),
        directions=numbers(each, "ImageOrientationPatient", 6),
    )


def _is_uid(found: str) -> bool:
    return bool(found) and not found.startswith("invalid")


def _items(dataset: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """Every item of every sequence, however deep."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _items(item)


def _once(items: Sequence[pydicom.Dataset]) -> list[pydicom.Dataset]:
    """References to instances, each once."""
    return list({item.ReferencedSOPInstanceUID: item for item in items}.values())
