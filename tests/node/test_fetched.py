"""Images straight from an archive."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from archive_stand_in import archive
from node_trials import SECRET, study, uid_of

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
        with fetched(f"{address}#study=1.2.3.1") as folder:
            found = [path for path in folder.rglob("*") if path.is_file()]
            assert {path.read_bytes() for path in found} == {path.read_bytes() for path in files}
            assert {path.parent.name for path in found} == {"1.2.3.1.1", "1.2.3.1.2"}
        assert not folder.exists()
        with fetched(f"{address}#study=1.2.3.1&series=1.2.3.1.2") as folder:
            assert {path.stem for path in folder.rglob("*.dcm")} == {uid_of(path) for path in files[3:]}
    assert SECRET not in caplog.text


def test_a_login_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with archive() as pacs:
        pacs.login = "Bearer t0ken"
        for path in study(tmp_path / "in", 1):
            pacs.add(path)
        address = f"{pacs.url.replace('http://', 'dicomweb+http://')}#study=1.2.3.1"
        with pytest.raises(MedoodError, match=r"does not accept the login \(401\)"), fetched(address):
            pass
        monkeypatch.setenv("MEDOOD_DICOMWEB_TOKEN", "t0ken")
        with fetched(address) as folder:
            assert len(list(folder.rglob("*.dcm"))) == 3


def test_what_is_not_there_is_said() -> None:
    with archive() as pacs:
        address = f"{pacs.url.replace('http://', 'dicomweb+http://')}#study=1.2"
        with pytest.raises(MedoodError, match="has nothing of that study"), fetched(address):
            pass
    with pytest.raises(MedoodError, match=r"127.0.0.1:9/x cannot be reached"), fetched("dicomweb+http://127.0.0.1:9/x#study=1.2"):
        pass


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
