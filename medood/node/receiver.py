"""Takes objects that others send by C-STORE, and answers C-ECHO."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

from pydicom.dataset import Dataset
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt

from medood.core.errors import InputError, MedoodError
from medood.core.shield import kind_of
from medood.node.archives.encryption import server_context
from medood.node.config import Limits, Receive
from medood.node.door import SILENCE_S, Server
from medood.node.inbox import Inbox, NoRoom
from medood.node.network import VERIFICATION, log
from medood.sources.dicom.decoding.frames import decoders_for
from medood.sources.dicom.library import pydicom

_TAKEN, _NO_ROOM, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
_LARGEST_PDU = 1 << 18  # fewer round trips than the 16 KB that is usual
_MB = 1 << 20
_LOOPBACK = ("127.", "::1", "localhost")


class Receiver:
    """A server in threads of its own from `start` to `stop`."""

    def __init__(self, config: Receive, limits: Limits, inbox: Inbox) -> None:
        self.config, self.inbox = config, inbox
        self._most = limits.object_mb * _MB + 2 * _LARGEST_PDU
        self._server: Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.server_address[1]

    def start(self) -> None:
        """Raises MedoodError when the address is taken or not this machine's, or a certificate cannot be used."""
        entity = self._entity()
        encryption = server_context(self.config.tls) if self.config.tls else None
        place = f"{self.config.host}:{self.config.port}"
        try:
            server = entity.make_server(
                (self.config.host, self.config.port),
                evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_DIMSE_RECV, _count), (evt.EVT_C_ECHO, _echo), *_refusals()],
                ssl_context=encryption,
                server_class=Server,
                most=self._most,
                connections=4 * self.config.associations,
            )
        except OSError as error:
            raise MedoodError(
                f"Cannot listen on {place}: {error.strerror or kind_of(error)}. Choose another `receive.port` or `host`."
            ) from None
        self._server = cast(Server, server)
        entity._servers.append(self._server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="receive", daemon=True).start()
        log.info("Listening on %s as %s%s.", place, self.config.ae_title, ", encrypted" if encryption else "")
        if not encryption and not self.config.host.startswith(_LOOPBACK):
            log.warning("The images of patients cross the network unencrypted: give `receive` a `tls`.")

    def stop(self) -> None:
        """Ends associations too; what was not acknowledged will be sent again."""
        if self._server is not None:
            for association in self._server.active_associations:
                association.abort()
            self._server.shutdown()

    def _entity(self) -> AE:
        entity = AE(ae_title=self.config.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = self.config.calling
        entity.maximum_associations = self.config.associations
        entity.maximum_pdu_size = _LARGEST_PDU
        entity.network_timeout = entity.dimse_timeout = SILENCE_S
        syntaxes = [uid for uid in AllTransferSyntaxes if not uid.is_encapsulated or decoders_for(uid)]
        entity.add_supported_context(VERIFICATION)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), syntaxes)
        return entity

    def _store(self, event: Any) -> int | Dataset:
        """The status that the caller gets: taken only if the object is safe."""
        try:
            self.inbox.take(lambda file: _write(event, file), str(event.request.AffectedSOPInstanceUID))
            return _TAKEN
        except NoRoom as error:
            return _status(_NO_ROOM, error)
        except InputError as error:
            log.warning("An object from %s was refused: %s.", event.assoc.requestor.ae_title, error)
            return _status(_NOT_UNDERSTOOD, error)
        except Exception as error:  # a bug of ours: the caller keeps the object and sends it again
            log.error("An object could not be taken (%s).", kind_of(error))
            return _NO_ROOM
        finally:
            event.assoc.meter.answered()


def _write(event: Any, file: Any) -> None:
    """The object as a DICOM file, its data set as it came."""
    file.write(bytes(128) + b"DICM")
    pydicom.filewriter.write_file_meta_info(file, event.file_meta, enforce_standard=True)
    file.write(event.request.DataSet.getbuffer())


def _status(code: int, error: Exception) -> Dataset:
    answer = Dataset()
    answer.Status = code
    answer.ErrorComment = str(error)[:64]  # PS3.7 C: a LO
    return answer


def _count(event: Any) -> None:
    event.assoc.meter.request()


def _echo(event: Any) -> int:
    event.assoc.meter.answered()
    return _TAKEN


def _refusals() -> list[tuple[Any, Callable[[Any], None]]]:
    def refused(event: Any) -> None:
        log.warning("An association was turned away: called as %r by %r.", *_titles(event))

    return [(evt.EVT_REJECTED, refused)]


def _titles(event: Any) -> tuple[str, str]:
    primitive = event.assoc.requestor.primitive
    return str(primitive.called_ae_title), str(primitive.calling_ae_title)
