"""Who may call, who is believed, and what the log says."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from archive_stand_in import archive
from node_trials import SECRET, associate, at_work, configuration, free_port, send, study, until
from pynetdicom import AE, evt
from test_node_delivery import state_of

from medood.core.errors import MedoodError
from medood.node.archives.encryption import client_context, server_context
from medood.node.config import Receive, Tls
from medood.node.jobs import SENT

NOWHERE = {"url": "http://127.0.0.1:9/dicom-web"}
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority (ca.pem), certificates of it for 127.0.0.1 (good) and another host (elsewhere), and one not of it (stranger)."""
    folder = tmp_path_factory.mktemp("keys")

    def make(name: str, host: str, signed: bool) -> None:
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
        sign = " -CA ca.pem -CAkey ca.key" if signed else ""
        own = f" -subj /CN={name} -keyout {name}.key -out {name}.pem -addext subjectAltName={host}"
        subprocess.run((command + sign + own).split(), cwd=folder, check=True, capture_output=True)

    make("ca", "DNS:ca", signed=False)
    make("good", "IP:127.0.0.1", signed=True)
    make("elsewhere", "DNS:elsewhere.example.org", signed=True)
    make("stranger", "IP:127.0.0.1", signed=False)
    return folder


def tls(keys: Path, name: str | None = "good") -> dict[str, str]:
    own = {"certificate": str(keys / f"{name}.pem"), "key": str(keys / f"{name}.key")} if name else {}
    return {"ca": str(keys / "ca.pem"), **own}


def test_a_node_listens_to_this_machine_only_unless_told_otherwise() -> None:
    assert Receive(calling=["A"]).host == "127.0.0.1"


def test_strangers_are_turned_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with at_work(configuration(tmp_path / "node", stow=NOWHERE, quiet_s=3600.0)) as node:
        assert associate(node.receiver.port, calling="STRANGER").is_rejected
        assert associate(node.receiver.port, called="OTHER").is_rejected
        assert send(study(tmp_path / "in", 1), node.receiver.port) == [0] * 3
    assert "turned away: called as 'MEDOOD' by 'STRANGER'" in caplog.text


@needs_openssl
def test_callers_need_a_certificate_of_the_authority(tmp_path: Path, keys: Path) -> None:
    receive = {"port": free_port(), "calling": ["SCANNER"], "tls": tls(keys)}
    with at_work(configuration(tmp_path / "node", receive=receive, stow=NOWHERE, quiet_s=3600.0)) as node:
        files, port = study(tmp_path / "in", 1), node.receiver.port
        assert send(files, port) == [], "not encrypted"
        for name in (None, "stranger"):
            context = client_context(Tls.model_validate(tls(keys, name)))
            assert send(files, port, tls_args=(context, "127.0.0.1")) == []
        context = client_context(Tls.model_validate(tls(keys)))
        assert send(files, port, tls_args=(context, "127.0.0.1")) == [0] * 3


@needs_openssl
def test_a_caller_who_never_agrees_on_encryption_holds_nobody_up(tmp_path: Path, keys: Path) -> None:
    receive = {"port": free_port(), "calling": ["SCANNER"], "tls": tls(keys)}
    context = client_context(Tls.model_validate(tls(keys)))
    config = configuration(tmp_path / "node", receive=receive, stow=NOWHERE, quiet_s=3600.0)
    with at_work(config) as node, socket.create_connection(("127.0.0.1", node.receiver.port)):
        assert send(study(tmp_path / "in", 1), node.receiver.port, tls_args=(context, "127.0.0.1")) == [0] * 3


@needs_openssl
def test_results_go_to_an_archive_whose_certificate_is_good(tmp_path: Path, keys: Path) -> None:
    context = server_context(Tls.model_validate(tls(keys)))
    with archive(context) as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url, "tls": tls(keys)})) as node:
        send(study(tmp_path / "in", 1), node.receiver.port)
        until(lambda: state_of(node)[0] == SENT)


@needs_openssl
@pytest.mark.parametrize("name", ["elsewhere", "stranger"])
def test_no_result_goes_to_an_archive_with_another_certificate(tmp_path: Path, keys: Path, name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
    with archive(context) as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url, "tls": tls(keys, None)})) as node:
        send(study(tmp_path / "in", 1), node.receiver.port)
        until(lambda: "its certificate is not one to be believed, or is not its own" in state_of(node)[1])
        assert not pacs.requests


@needs_openssl
@pytest.mark.parametrize(("name", "good"), [("good", True), ("elsewhere", False)])
def test_c_store_is_encrypted_too(tmp_path: Path, keys: Path, name: str, good: bool) -> None:
    entity, port = AE("ARCHIVE"), free_port()
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.7")
    context = server_context(Tls.model_validate(tls(keys, name)))
    handlers = [(evt.EVT_C_STORE, lambda event: 0)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=context)
    try:
        place = {"host": "127.0.0.1", "port": port, "called": "ARCHIVE", "tls": tls(keys)}
        with at_work(configuration(tmp_path / "node", store=place)) as node:
            send(study(tmp_path / "in", 1), node.receiver.port)
            until(lambda: state_of(node)[0] == SENT if good else "its certificate is not one to be believed" in state_of(node)[1])
    finally:
        server.shutdown()


@pytest.mark.parametrize("kind", ["bearer", "basic"])
def test_logins_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with archive() as pacs:
        pacs.login = "Bearer t0ken" if kind == "bearer" else "Basic bmFtZTpzM2NyZXQ="  # name:s3cret
        for word, value in ({"TOKEN": "t0ken"} if kind == "bearer" else {"USER": "name", "PASSWORD": "s3cret"}).items():
            monkeypatch.setenv(f"PACS_{word}", value)
        with at_work(configuration(tmp_path / "node", stow={"url": pacs.url, "credentials": "PACS"})) as node:
            send(study(tmp_path / "in", 1), node.receiver.port)
            until(lambda: state_of(node)[0] == SENT)
    assert not [word for word in ("t0ken", "s3cret", "bmFtZ") if word in caplog.text]


def test_a_login_that_is_wrong_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_TOKEN", "wrong")
    with archive() as pacs:
        pacs.login = "Bearer right"
        with at_work(configuration(tmp_path / "node", stow={"url": pacs.url, "credentials": "PACS"})) as node:
            send(study(tmp_path / "in", 1), node.receiver.port)
            until(lambda: "does not accept the login (401)" in state_of(node)[1])
            assert not pacs.stored
            pacs.login = None
            until(lambda: state_of(node)[0] == SENT)


def test_a_login_that_is_not_there_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PACS_TOKEN", raising=False)
    with (
        pytest.raises(MedoodError, match="set the environment variable PACS_TOKEN, or PACS_USER and PACS_PASSWORD"),
        at_work(configuration(tmp_path / "node", stow={**NOWHERE, "credentials": "PACS"})),
    ):
        pass


def test_an_archive_that_sends_elsewhere_gets_nothing(tmp_path: Path) -> None:
    with archive() as pacs:
        pacs.on_request = lambda path: 302
        with at_work(configuration(tmp_path / "node", stow={"url": pacs.url})) as node:
            send(study(tmp_path / "in", 1), node.receiver.port)
            until(lambda: "sends elsewhere" in state_of(node)[1])
            assert not pacs.stored


def test_no_log_names_a_patient_or_a_study(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    with archive() as pacs:
        trouble = iter([500, 404, 503])
        pacs.on_request = lambda path: next(trouble, None)
        with at_work(configuration(tmp_path / "node", stow={"url": pacs.url})) as node:
            files = study(tmp_path / "in", 1)
            broken = tmp_path / "broken.dcm"
            broken.write_bytes(files[0].read_bytes().replace(b"1.2.3.1.1", b"1.2.3.x.1"))
            send([*files, broken], node.receiver.port)
            until(lambda: state_of(node)[0] == SENT)
    said = caplog.text + "".join(capfd.readouterr())
    assert "Study 1: sent" in said
    assert "An object from SCANNER was refused: it has no valid SeriesInstanceUID" in said
    assert SECRET not in said
    assert "1.2.3.1" not in said
    assert "19700131" not in said
