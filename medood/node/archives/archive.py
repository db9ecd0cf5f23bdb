"""An archive behind DICOMweb: what is there (QIDO-RS), fetching it (WADO-RS), and storing in it (STOW-RS)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import requests
from dicomweb_client import DICOMwebClient

from medood.core.errors import MedoodError
from medood.core.shield import kind_of
from medood.node.archives.destination import ArchiveError, Declined, verdict
from medood.node.archives.encryption import Login, client_context
from medood.node.archives.multipart import only_part
from medood.node.config import Tls
from medood.sources.dicom.library import pydicom

TIMEOUT_S = (10.0, 120.0)
"""To connect; between two pieces of an answer."""

_PAGE = 500
_STUDY, _SERIES, _SOP, _IN_STUDY = "0020000D", "0020000E", "00080018", "00201208"
_ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_DENIED = {401: "does not accept the login", 403: "does not permit this login to do that"}


@dataclass(frozen=True)
class Found:
    """A study that the archive has: its UID, and how many objects it counts, None if it does not say."""

    uid: str
    objects: int | None


class Archive:
    """One address. Every method raises ArchiveError, with a sentence that names nobody, when it does not answer as it should."""

    def __init__(self, url: str, login: Login | None = None, tls: Tls | None = None) -> None:
        self.url = url.rstrip("/")
        self._session = _session(login, tls)
        self._client = DICOMwebClient(self.url, self._session, timeout=TIMEOUT_S, permissive_uid=True)  # as scanners make them
        self._client.set_http_retry_params(retry=False)

    def studies(self, filters: Mapping[str, str]) -> Iterator[Found]:
        """Those that match, by DICOM keyword."""
        fields = ["NumberOfStudyRelatedInstances"]
        for row in self._pages(lambda **page: self._client.search_for_studies(search_filters=dict(filters), fields=fields, **page)):
            yield Found(_text(row, _STUDY), _number(row, _IN_STUDY))

    def objects(self, study: str) -> dict[str, str]:
        """Series UID of every object of a study, by SOP instance UID."""
        found = self._pages(lambda **page: self._client.search_for_instances(study, fields=["SeriesInstanceUID"], **page))
        return {_text(row, _SOP): _text(row, _SERIES) for row in found}

    def has(self, study: str, sop: str) -> bool:
        with _explained(self.url):
            return bool(self._client.search_for_instances(study, search_filters={"SOPInstanceUID": sop}))

    def fetch(self, study: str, series: str, sop: str, file: BinaryIO, most: int) -> None:
        """Write an object to `file` as it lies in the archive, piece by piece. Raises ArchiveError for more than `most` bytes."""
        address = f"{self.url}/studies/{study}/series/{series}/instances/{sop}"
        with _explained(self.url), self._session.get(address, headers={"Accept": _ANY_SYNTAX}, stream=True, timeout=TIMEOUT_S) as answer:
            answer.raise_for_status()
            for piece in only_part(answer.headers.get("Content-Type", ""), answer.iter_content(1 << 18)):
                most -= len(piece)
                if most < 0:
                    raise ArchiveError(f"{self.url} sent an object of more than limits.object_mb.")
                file.write(piece)

    def send(self, study: str, path: Path) -> str:
        """As `Destination.send`, by STOW-RS."""
        dataset = pydicom.dcmread(path)
        try:
            with _explained(self.url):
                answer = self._client.store_instances([dataset], study)
        except _Refused as error:
            answer = error.answer
        for failed in answer.get("FailedSOPSequence") or ():
            return verdict(self.url, int(failed.get("FailureReason") or 0), dataset)
        taken = {str(item.get("ReferencedSOPInstanceUID")) for item in answer.get("ReferencedSOPSequence") or ()}
        if str(dataset.SOPInstanceUID) in taken or self.has(study, str(dataset.SOPInstanceUID)):
            return ""
        raise Declined(f"{self.url} did not confirm a result.")

    def _pages(self, search: Any) -> Iterator[Mapping[str, Any]]:
        """All rows of a search, also from an archive that returns only so many at a time, and from one that ignores pages."""
        seen: set[str] = set()
        while True:
            with _explained(self.url):
                rows = [row for row in search(limit=_PAGE, offset=len(seen)) if isinstance(row, dict)]
            new = [row for row in rows if (key := _text(row, _SOP) or _text(row, _STUDY)) and key not in seen]
            seen |= {_text(row, _SOP) or _text(row, _STUDY) for row in new}
            yield from new
            if not new:
                return


class _Refused(Exception):
    """STOW-RS answered 409: nothing was stored; the answer says why."""

    def __init__(self, answer: pydicom.Dataset) -> None:
        self.answer = answer


class _explained:
    """Turns what libraries raise into a sentence about the archive; their own words may quote what was sent."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or (isinstance(error, (MedoodError, OSError)) and not isinstance(error, requests.RequestException)):
            return
        if isinstance(error, requests.HTTPError) and error.response is not None:
            if error.response.status_code == 409 and error.request is not None and error.request.method == "POST":
                raise _Refused(_dataset_in(error.response)) from None
            raise ArchiveError(f"{self._url} {_status(error.response.status_code)}.") from None
        if isinstance(error, requests.exceptions.SSLError):
            raise ArchiveError(f"{self._url}: its certificate is not one to be believed, or is not its own; see `tls`.") from None
        if isinstance(error, requests.exceptions.TooManyRedirects):
            raise ArchiveError(f"{self._url} sends elsewhere; give the address where it sends to.") from None
        if isinstance(error, requests.ConnectionError):
            raise ArchiveError(f"{self._url} cannot be reached.") from None
        if isinstance(error, requests.Timeout):
            raise ArchiveError(f"{self._url} does not answer in time.") from None
        if isinstance(error, Exception):
            raise ArchiveError(f"{self._url} gave an answer that is not DICOMweb ({kind_of(error)}).") from None


def _session(login: Login | None, tls: Tls | None) -> requests.Session:
    """Without redirects, and without logins and proxies from elsewhere on the machine."""
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    if login and login.token:
        session.headers["Authorization"] = f"Bearer {login.token}"
    elif login:
        session.auth = (login.user, login.password)
    if tls:
        client_context(tls)  # says what is wrong with the files
        session.verify = str(tls.ca) if tls.ca else True
        if tls.certificate:
            session.cert = (str(tls.certificate), str(tls.key)) if tls.key else str(tls.certificate)
    return session


def _status(code: int) -> str:
    return f"{_DENIED[code]} ({code})" if code in _DENIED else f"answered with HTTP status {code}"


def _dataset_in(response: requests.Response) -> pydicom.Dataset:
    try:
        return pydicom.Dataset.from_json(response.json())
    except Exception:
        raise ArchiveError(f"STOW-RS was refused with HTTP status {response.status_code}, without a reason.") from None


def _values(row: Mapping[str, Any], tag: str) -> list[Any]:
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(row: Mapping[str, Any], tag: str) -> str:
    values = _values(row, tag)
    return str(values[0]) if values else ""


def _number(row: Mapping[str, Any], tag: str) -> int | None:
    text = _text(row, tag)
    return int(text) if text.isdecimal() else None
