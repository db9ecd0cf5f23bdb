"""An archive that takes results by C-STORE."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from medood.core.shield import kind_of
from medood.node.archives.answers import keep_answers
from medood.node.archives.destination import ArchiveError, verdict
from medood.node.archives.encryption import client_context
from medood.node.config import Store
from medood.node.network import VERIFICATION
from medood.sources.dicom.library import pydicom

_CONNECT_S, _ANSWER_S = 10.0, 60.0
_PENDING = (0xFF00, 0xFF01)
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # study root


class StoreScu:
    """One association per question or object: results are few."""

    def __init__(self, config: Store) -> None:
        self._config = config
        self._encryption = client_context(config.tls) if config.tls else None
        self._name = f"{config.called} at {config.host}:{config.port}"

    def has(self, study: str, sop: str) -> bool:
        """As `Destination.has`, by C-FIND, if it answers such."""
        wanted = pydicom.Dataset()
        wanted.QueryRetrieveLevel = "IMAGE"
        wanted.StudyInstanceUID, wanted.SeriesInstanceUID, wanted.SOPInstanceUID = study, "", sop
        with self._association(_FIND, [ImplicitVRLittleEndian, ExplicitVRLittleEndian]) as association:
            if not _accepts(association, _FIND):
                return False
            answers = [row for status, row in association.send_c_find(wanted, _FIND) if status.get("Status") in _PENDING and row]
        return any(str(row.get("SOPInstanceUID")) == sop for row in answers)

    def send(self, study: str, path: Path) -> str:
        """As `Destination.send`."""
        dataset = pydicom.dcmread(path)
        kind = dataset.SOPClassUID
        with self._association(kind, [dataset.file_meta.TransferSyntaxUID]) as association:
            if not _accepts(association, kind):
                return f"the archive refuses {kind.name}"
            status = association.send_c_store(dataset).get("Status")
        if status is None:
            raise ArchiveError(f"{self._name} did not answer.")
        return verdict(self._name, status, dataset)

    @contextmanager
    def _association(self, kind: str, syntaxes: Sequence[str]) -> Iterator[Association]:
        """For objects of one kind; C-ECHO is asked for too, so that it stands even if the kind is refused."""
        entity = AE(ae_title=self._config.ae_title)
        entity.connection_timeout, entity.acse_timeout = _CONNECT_S, _ANSWER_S
        entity.dimse_timeout = entity.network_timeout = _ANSWER_S
        entity.add_requested_context(kind, list(syntaxes))
        entity.add_requested_context(VERIFICATION)
        encryption = (self._encryption, self._config.host) if self._encryption else None
        try:
            association = entity.associate(
                self._config.host, self._config.port, ae_title=self._config.called, max_pdu=0, tls_args=encryption
            )
        except Exception as error:  # a name that is not known
            raise ArchiveError(f"{self._name} cannot be reached ({kind_of(error)}).") from None
        if not association.is_established:
            raise ArchiveError(self._why_not(association))
        try:
            yield keep_answers(association)
        except ArchiveError:
            raise
        except Exception as error:
            raise ArchiveError(f"{self._name}: the association broke off ({kind_of(error)}).") from None
        finally:
            if association.is_established:
                association.release()

    def _why_not(self, association: Association) -> str:
        if association.is_rejected:
            return f"{self._name} turns {self._config.ae_title} away; does it know this name, and is it called by its own?"
        try:
            with socket.create_connection((self._config.host, self._config.port), _CONNECT_S) as connection:
                if self._encryption:
                    self._encryption.wrap_socket(connection, server_hostname=self._config.host).close()
        except ssl.SSLError:
            return f"{self._name}: its certificate is not one to be believed, or is not its own, or it wants one of this node; see `tls`."
        except OSError:
            return f"{self._name} cannot be reached."
        return f"{self._name} does not agree to an association."


def _accepts(association: Association, kind: str) -> bool:
    return any(context.abstract_syntax == kind for context in association.accepted_contexts)
