"""Who is who, for those who ask: the one place where identifiers of persons are read and written."""

from __future__ import annotations

from pathlib import Path

from medood.core.errors import MedoodError
from medood.core.files import atomic_file
from medood.core.table_file import csv_line
from medood.data.opening import open_source
from medood.sources.dicom.library import pydicom

_TAGS = ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber")


def write_identifiers(root: Path, out: Path) -> None:
    """A CSV of id, group and the four identifiers of every DICOM entry below `root`, readable by its owner only."""
    index = open_source("dicom", root).index()
    with atomic_file(out) as part:
        with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            file.write(csv_line(("id", "group", "patient_id", "patient_name", "birth_date", "accession_number")))
            for entry in index.entries:
                header = pydicom.dcmread(entry.files[0], stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
                file.write(csv_line((entry.id, entry.group, *(str(header.get(tag, "")) for tag in _TAGS))))
        if not index.entries:
            raise MedoodError(f"{root}: found no DICOM file to take identifiers from.")
    out.chmod(0o600)
