"""The file of identifiers, and what is never said while it is written."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dicom_writer import write_image

from medood.core.volume import Entry
from medood.data.identifiers import identifiers_file
from medood.sources.dicom.dicom import Dicom

PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8)


def written(out: Path, entries: Iterable[Entry]) -> dict[str, dict[str, str]]:
    with identifiers_file(out) as add:
        add(entries)
    with out.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_no_warning_quotes_a_header(tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: Any, caplog: Any) -> None:
    """A damaged header has one value where another belongs."""
    path = write_image(tmp_path / "images" / "a", PIXELS, extra={"SpecificCharacterSet": "ISO_IR 100", "PatientID": "4711"})
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"DOE JOHN 1"))
    entries = Dicom(tmp_path / "images").index().entries
    assert written(tmp_path / "who.csv", entries)["a"]["patient_id"] == "4711"
    texts = [str(warning.message) for warning in recwarn] + [record.getMessage() for record in caplog.records] + list(capfd.readouterr())
    assert "DOE" not in " ".join(texts)


def test_a_file_that_is_gone_has_an_empty_row_and_the_others_go_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "images" / name, PIXELS, patient=f"patient {name}")
    entries = Dicom(tmp_path / "images").index().entries
    (tmp_path / "images" / "a").unlink()
    rows = written(tmp_path / "who.csv", entries)
    assert {name: row["patient_id"] for name, row in rows.items()} == {"a": "", "b": "patient b"}
    assert rows["a"]["group"] == entries[0].group
