"""An archive on loopback that speaks enough DICOMweb (QIDO-RS, WADO-RS, STOW-RS) to test against, and can be made to misbehave."""

from __future__ import annotations

import io
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom

_BOUNDARY = b"stand-in"


class ArchiveStandIn:
    """`objects` by SOP instance UID; `stored` has the UID of every object that STOW-RS brought, each time it came.

    on_request   called with the request's path before anything is done; returns a status to answer with, or None to go on
    refuses      SOP classes that STOW-RS does not take, with the reason that it gives
    login        value of the header Authorization that is demanded
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.stored: list[str] = []
        self.requests: list[str] = []
        self.refuses: dict[str, int] = {}
        self.login: str | None = None
        self.on_request: Callable[[str], int | None] = lambda path: None
        self.url = ""

    def add(self, path: Path) -> None:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        self.objects[str(dataset.SOPInstanceUID)] = path.read_bytes()

    def dataset(self, sop: str) -> pydicom.Dataset:
        return pydicom.dcmread(io.BytesIO(self.objects[sop]))

    @property
    def results(self) -> list[pydicom.Dataset]:
        return [self.dataset(sop) for sop in dict.fromkeys(self.stored) if sop in self.objects]


@contextmanager
def archive(encryption: ssl.SSLContext | None = None, port: int = 0) -> Iterator[ArchiveStandIn]:
    stand_in = ArchiveStandIn()
    server = _Server(("127.0.0.1", port), type("Bound", (_Handler,), {"archive": stand_in}))
    if encryption:
        server.socket = encryption.wrap_socket(server.socket, server_side=True)
    stand_in.url = f"{'https' if encryption else 'http'}://127.0.0.1:{server.server_address[1]}/dicom-web"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Says nothing of nodes that are killed while they talk."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None: ...


class _Handler(BaseHTTPRequestHandler):
    archive: ArchiveStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if not self._let_in():
            return
        path, query = urlsplit(self.path).path.removeprefix("/dicom-web"), parse_qs(urlsplit(self.path).query)
        if found := re.fullmatch(r"/studies/[\d.]+/series/[\d.]+/instances/([\d.]+)", path):
            content = self.archive.objects.get(found[1])
            body = b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--%s--" % (_BOUNDARY, content, _BOUNDARY)
            if content is None:
                self._answer(404, b"", "text/plain")
            else:
                self._answer(200, body, f'multipart/related; type="application/dicom"; boundary="{_BOUNDARY.decode()}"')
            return
        datasets = [self.archive.dataset(sop) for sop in self.archive.objects]
        if found := re.fullmatch(r"/studies/([\d.]+)/instances", path):
            wanted = query.get("SOPInstanceUID") or query.get("00080018")
            rows = [_row(d) for d in datasets if d.StudyInstanceUID == found[1] and (not wanted or d.SOPInstanceUID == wanted[0])]
        else:
            counts: dict[str, int] = {}
            for d in datasets:
                counts[d.StudyInstanceUID] = counts.get(d.StudyInstanceUID, 0) + 1
            rows = [{"0020000D": {"vr": "UI", "Value": [u]}, "00201208": {"vr": "IS", "Value": [n]}} for u, n in sorted(counts.items())]
        begin = int(query.get("offset", ["0"])[0])
        self._answer(200, json.dumps(rows[begin : begin + 100]).encode(), "application/dicom+json")

    def do_POST(self) -> None:
        body = self._body()
        if not self._let_in():
            return
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
        assert boundary
        parts = [part.partition(b"\r\n\r\n")[2] for part in body.split(b"\r\n--" + boundary[1].encode()) if b"\r\n\r\n" in part]
        taken, failed = [], []
        for part in parts:
            dataset = pydicom.dcmread(io.BytesIO(part))
            item = {"00081150": {"vr": "UI", "Value": [dataset.SOPClassUID]}, "00081155": {"vr": "UI", "Value": [dataset.SOPInstanceUID]}}
            if dataset.SOPClassUID in self.archive.refuses:
                failed.append(item | {"00081197": {"vr": "US", "Value": [self.archive.refuses[dataset.SOPClassUID]]}})
                continue
            taken.append(item)
            self.archive.objects.setdefault(str(dataset.SOPInstanceUID), part)
            self.archive.stored.append(str(dataset.SOPInstanceUID))
        answer = {tag: {"vr": "SQ", "Value": items} for tag, items in (("00081199", taken), ("00081198", failed)) if items}
        status = self.archive.on_request("stored") or (200 if taken else 409)
        self._answer(status, json.dumps(answer).encode(), "application/dicom+json")

    def _let_in(self) -> bool:
        self.archive.requests.append(f"{self.command} {self.path}")
        if self.archive.login and self.headers.get("Authorization") != self.archive.login:
            self._answer(401, b"", "text/plain")
            return False
        if status := self.archive.on_request(f"{self.command} {self.path}"):
            self._answer(status, b"", "text/plain")
            return False
        return True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _row(dataset: pydicom.Dataset) -> dict[str, dict[str, object]]:
    words = {"00080018": dataset.SOPInstanceUID, "0020000D": dataset.StudyInstanceUID, "0020000E": dataset.SeriesInstanceUID}
    return {tag: {"vr": "UI", "Value": [str(uid)]} for tag, uid in words.items()}
