"""Images straight from an archive."""

from __future__ import annotations

import logging
from pathlib import Path

import pydicom
import pytest
from archive_stand_in import archive
from node_trials import SECRET, study

from medood.core.errors import MedoodError
from medood.node.archives.archive import Archive
from medood.node.fetched import fetched, selection


def test_a_study_is_fetched_by_series_and_gone_afterwards(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    files = study(tmp_path / "in", 1, series=2)
    with archive() as pacs:
        for path in [*files, *study(tmp_path / "in", 2)]:
            pacs.add(path)
        address = pacs.url.replace("http://", "dicomweb+http://")
        fetches = lambda: [request for request in pacs.requests if "/instances/" in request]  # noqa: E731
        with fetched(f"{address}#study=1.2.3.1") as (folder, steps):
            for number in (1, 2):
                assert next(steps) == "patient-0001"
                found = [path for path in folder.rglob("*") if path.is_file()]
                assert {path.read_bytes() for path in found} == {path.read_bytes() for path in files[3 * number - 3 : 3 * number]}
                assert {path.parent.name for path in found} == {f"1.2.3.1.{number}"}
                assert len(fetches()) == 3 * number, "the second series is fetched when the first is done with"
            assert next(steps, None) is None
            assert not list(folder.iterdir())
        assert not folder.exists()
        with fetched(f"{address}#study=1.2.3.1&series=1.2.3.1.2") as (folder, steps):
            assert len(list(steps)) == 1
            assert len(fetches()) == 9
    assert SECRET not in caplog.text


def test_a_login_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with archive() as pacs:
        pacs.login = "Bearer t0ken"
        for path in study(tmp_path / "in", 1):
            pacs.add(path)
        address = f"{pacs.url.replace('http://', 'dicomweb+http://')}#study=1.2.3.1"
        with pytest.raises(MedoodError, match=r"does not accept the login \(401\)"), fetched(address) as (_, steps):
            next(steps)
        monkeypatch.setenv("MEDOOD_DICOMWEB_TOKEN", "t0ken")
        with fetched(address) as (folder, steps):
            next(steps)
            assert len(list(folder.rglob("*.dcm"))) == 3


def test_what_is_not_there_is_said() -> None:
    with archive() as pacs:
        address = f"{pacs.url.replace('http://', 'dicomweb+http://')}#study=1.2"
        with pytest.raises(MedoodError, match="has nothing of that study"), fetched(address) as (_, steps):
            next(steps)
    nobody = "dicomweb+http://127.0.0.1:9/x#study=1.2"
    with pytest.raises(MedoodError, match=r"127.0.0.1:9/x cannot be reached"), fetched(nobody) as (_, steps):
        next(steps)


def test_studies_of_one_patient_are_of_one_patient(tmp_path: Path) -> None:
    with archive() as pacs:
        for number, patient in ((1, "A"), (2, "B"), (3, "A")):
            for path in study(tmp_path / "in", number, slices=1):
                dataset = pydicom.dcmread(path)
                dataset.PatientID = patient
                dataset.save_as(path)
                pacs.add(path)
        address = f"{pacs.url.replace('http://', 'dicomweb+http://')}#study=1.2.3.1&study=1.2.3.2&study=1.2.3.3"
        with fetched(address) as (_, steps):
            assert list(steps) == ["patient-0001", "patient-0002", "patient-0001"]


def test_uids_that_break_the_rules_are_no_reason_to_stop() -> None:
    with archive() as pacs:
        assert Archive(pacs.url).objects("1.02.3") == {}
        assert not Archive(pacs.url).has("1.02.3", "1.2.003")


def test_an_address_is_encrypted_unless_it_says_otherwise() -> None:
    assert selection("dicomweb://pacs.example.org/dicom-web#study=1.2").url == "https://pacs.example.org/dicom-web"
    assert selection(str(Path("dicomweb://pacs.example.org:8042/x#study=1.2&series=3.4"))).url == "https://pacs.example.org:8042/x"


@pytest.mark.parametrize(
    "address", ["dicomweb://h/x", "dicomweb://h/x#series=1.2", "dicomweb://h/x#study=../..", "dicomweb://h/x#study=1&a=2"]
)
def test_an_address_that_is_none_is_explained(address: str) -> None:
    with pytest.raises(MedoodError, match="dicomweb://HOST/ROOT#study=UID"):
        selection(address)


def test_a_login_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(MedoodError, match="holds no login") as caught:
        selection("dicomweb://me:s3cret@h/x#study=1.2")
    assert "s3cret" not in str(caught.value)
