"""Connections to the receiver: how many, how long they may be silent, and how much may come before it is answered."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from medood.core.shield import kind_of
from medood.node.network import log

SILENCE_S = 60.0
"""How long a connection may be silent; also in the middle of a message."""

_BLOCK = 1 << 18


class Meter:
    """Reads a connection, and ends it when more than `most` bytes have come since the last answer, or a second request before it.

    Whoever sends in good faith waits for the answer to each object. A message names its own length, up to 4 GB, in six bytes: so the length
    is judged before anything is read.
    """

    def __init__(self, connection: AssociationSocket, most: int) -> None:
        self._connection, self._most = connection, most
        self._unanswered = 0
        self._requests = 0

    def recv(self, count: int) -> bytearray:
        """As AssociationSocket.recv: `count` bytes, or fewer at the end. Raises OSError when it is too much."""
        self._unanswered += count
        if self._unanswered > self._most:
            log.warning("A caller sent more than limits.object_mb in one object; the connection is closed.")
            raise OSError("too much")
        assert self._connection.socket is not None
        received = bytearray(min(count, _BLOCK))  # grows with what really comes
        filled = 0
        while filled < count:
            if filled == len(received):
                received.extend(bytes(min(count - filled, len(received))))
            read = self._connection.socket.recv_into(memoryview(received)[filled:])
            if not read:
                break
            filled += read
        return received[:filled]

    def request(self) -> None:
        """A whole message has come."""
        self._requests += 1
        if self._requests > 1:
            log.warning("A caller did not wait for answers; the connection is closed.")
            self._connection.close()

    def answered(self) -> None:
        self._unanswered = self._requests = 0


class Handler(RequestHandler):
    """Puts a Meter on every connection; the association's `meter` is it."""

    server: Server

    def _create_association(self) -> Any:
        association: Any = super()._create_association()
        connection: Any = association.dul.socket
        association.meter = meter = Meter(connection, self.server.most)
        connection.recv = meter.recv
        return association


class Server(ThreadedAssociationServer):
    """A server that no connection holds up: encryption is agreed on in the connection's own thread, and within a time."""

    daemon_threads = True

    def __init__(self, *arguments: Any, most: int, connections: int, **options: Any) -> None:
        self.most, self.connections = most, connections
        options["request_handler"] = Handler
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.settimeout(SILENCE_S)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """False beyond so many connections, whether they have said who they are or not."""
        return len(self.active_associations) < self.connections

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
            self.finish_request(request, client_address)
        except Exception as error:
            self._turn_away(error)
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        self._turn_away(None)

    def _turn_away(self, error: Exception | None) -> None:
        log.warning("A connection was refused before it said who it is (%s).", kind_of(error) if error else "unknown")
