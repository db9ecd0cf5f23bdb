"""The hottest slices with the map over them, score and decision in the picture: a secondary capture (PS3.3 A.8) that everything shows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from medood.core.errors import InputError
from medood.dicom_objects.finding import Finding
from medood.dicom_objects.identity import identity
from medood.dicom_objects.library import highdicom, pydicom
from medood.dicom_objects.source_slices import SourceSlices
from medood.export.card import BACKGROUND, WARNING
from medood.export.pictures import displayed_directions, write_picture

_BANNER = "RESEARCH - not for diagnosis"
_TO_DICOM = str.maketrans("SI", "HF")


def picture_object(finding: Finding, source: SourceSlices) -> pydicom.Dataset:
    """RGB, one frame. Raises InputError for a detector without maps."""
    if finding.heat is None:
        raise InputError("its detector gives scores only", "no_map")
    oriented = source.volume.geometry.in_patient
    made = highdicom.sc.SCImage(
        pixel_array=drawn(finding),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system=highdicom.CoordinateSystemNames.PATIENT,
        study_instance_uid=source.instances[0].StudyInstanceUID,
        patient_orientation=_orientation(finding) if oriented else ("L", "P"),
        **identity("picture", finding, source),
    )
    made.Laterality = ""  # of no use in a picture of several slices, but it must be there
    if not oriented:
        made.PatientOrientation = []
    burned_in = "burned_in" in (*finding.volume.entry.issues, *finding.volume.issues)
    made.BurnedInAnnotation = "YES" if burned_in else "NO"  # of what names the patient; the words of medood never do
    made.DerivationDescription = "Anomaly map over the hottest slices. Research."
    made.SourceImageSequence = [_reference(instance) for instance in source.instances]
    return made


def drawn(finding: Finding) -> np.ndarray:
    """The picture as `medood overlay` draws it, uint8 (rows, columns, 3), under a line that says what it must not be used for."""
    from PIL import Image, ImageDraw, ImageFont

    heat = finding.heat
    assert heat is not None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        write_picture(file, finding.volume, heat.array, heat.scale, finding.verdict, heat.seen, heat.axis)
        with Image.open(file) as picture:
            below = picture.convert("RGB")
    unit = max(12, below.width // 50)
    whole = Image.new("RGB", (below.width, below.height + 2 * unit), BACKGROUND)
    words = f"{_BANNER}   medood {finding.by.medood} {finding.by.detector}, run {finding.by.checksum[:8]}"
    ImageDraw.Draw(whole).text((unit, unit // 2), words, fill=WARNING, font=ImageFont.load_default(size=unit))
    whole.paste(below, (0, 2 * unit))
    return np.asarray(whole)


def _orientation(finding: Finding) -> tuple[str, str]:
    """Where the rows and the columns of the picture lead to in the patient, in DICOM's letters."""
    assert finding.heat is not None
    right, down = displayed_directions(finding.volume.geometry, finding.heat.axis)
    return right.translate(_TO_DICOM), down.translate(_TO_DICOM)


def _reference(instance: pydicom.Dataset) -> pydicom.Dataset:
    purpose = pydicom.Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
