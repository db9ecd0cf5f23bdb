"""Who is who, for those who ask: the one place where identifiers of persons are read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medood.core.errors import InputError, MedoodError
from medood.core.files.atomic import atomic_file
from medood.core.files.table_file import csv_line
from medood.core.shield import shield
from medood.core.volume import Entry
from medood.sources.dicom.entries import DicomEntry
from medood.sources.dicom.library import pydicom, quiet

_TAGS = ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber")


@contextmanager
def identifiers_file(out: Path | None) -> Iterator[Callable[[Iterable[Entry]], None]]:
    """What writes id, group and the four identifiers of DICOM entries into a CSV that its owner alone may read; nothing without a file.

    The file is there when the block has ended well. Raises MedoodError then if there was no DICOM entry.
    """
    if out is None:
        yield lambda entries: None
        return
    count = 0
    with atomic_file(out) as part:
        part.touch(0o600)
        with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:

            def add(entries: Iterable[Entry]) -> None:
                nonlocal count
                for entry in entries:
                    if isinstance(entry, DicomEntry):
                        count += 1
                        file.write(csv_line((entry.id, entry.group, *_identifiers_in(entry))))

            file.write(csv_line(("id", "group", "patient_id", "patient_name", "birth_date", "accession_number")))
            yield add
        if not count:
            raise MedoodError("There is no DICOM file among the images to take identifiers from.")
    out.chmod(0o600)


def _identifiers_in(entry: DicomEntry) -> list[str]:
    """The identifiers that the header states; all empty if it cannot be read any more, as whoever reads the images reports that."""
    try:
        with quiet(), shield(entry.id):
            header = pydicom.dcmread(entry.files[0], stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
            return [str(header.get(tag, "")) for tag in _TAGS]
    except InputError:
        return [""] * len(_TAGS)
