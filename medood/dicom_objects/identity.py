"""What names an object and the software that made it: the same for the same run and series, so that scoring twice makes nothing twice."""

from __future__ import annotations

import uuid
from typing import Any

from medood.dicom_objects.finding import Finding
from medood.dicom_objects.kinds import KINDS
from medood.dicom_objects.library import pydicom
from medood.dicom_objects.source_slices import SourceSlices
from medood.sources.dicom.elements import FrameHeader, numbers
from medood.sources.dicom.headers import MADE_HERE

_NAMESPACE = uuid.UUID("5c0d7f6a-3a1e-5a38-9d2c-3c4b0f6f7b5e")
_LARGEST_NUMBER = 9_999_999  # of a series, beyond which viewers cut digits off
_HEX = 16


def derived_uid(*parts: object) -> str:
    """A UID that is the same for the same texts (PS3.5 B.2: an integer made of a UUID)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(31).join(map(str, parts))).int}"


def content_key(finding: Finding, source: SourceSlices) -> str:
    """What an object is made of: the run, the medood, how the volume was cut, and the instances and frames that were scored."""
    slices = [f"{each.sop_uid}/{each.frame}" for each in source.slices]
    axis = "" if finding.heat is None else finding.heat.axis
    return derived_uid(finding.by.checksum, finding.by.medood, axis, *slices)


def identity(kind: str, finding: Finding, source: SourceSlices) -> dict[str, Any]:
    """Arguments for every object of highdicom: its UIDs, its series, and the software that made it."""
    key = content_key(finding, source)
    return {
        "series_instance_uid": derived_uid(key, kind, "series"),
        "series_number": _series_number(kind, source.header),
        "sop_instance_uid": derived_uid(key, kind, "instance"),
        "instance_number": 1,
        "series_description": f"medood {KINDS[kind]} (RESEARCH)",
        "manufacturer": MADE_HERE,
        "manufacturer_model_name": f"medood {finding.by.detector}",
        "software_versions": finding.by.medood,
        "device_serial_number": finding.by.checksum[:_HEX],
    }


def _series_number(kind: str, header: pydicom.Dataset) -> int:
    """That of the source with two more digits, so that objects stand beside what they were made of."""
    own = abs(int((numbers(FrameHeader(header, 0), "SeriesNumber") or (0.0,))[0]))
    number = 100 * own + 91 + list(KINDS).index(kind)
    return number if number <= _LARGEST_NUMBER else 9091 + list(KINDS).index(kind)
