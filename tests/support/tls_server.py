"""TLS servers on Python's ssl module, without Twisted: a thread for each connection, every wait bounded."""

import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.certificates import Pair
from tests.support.sockets import PATIENCE, RECORD

Handler = Callable[[socket.socket], None]
"""Serves one accepted connection, which is closed afterwards."""


class TLSServer:
    """Listens on a free port of every address, and runs the handler for each connection in a thread."""

    def __init__(self, handler: "Handler | None" = None, context: ssl.SSLContext | None = None) -> None:
        """Without `handler`, the server echoes one record over TLS, which needs a context."""
        self.context = context
        self.received = b""
        """Application bytes, of all connections."""
        self.server_names: list[str | None] = []
        """The names in the clients' server_name extension (SNI); None: a client sent none."""
        self.client_subjects: list[object] = []
        """The subjects of the clients' certificates."""
        self.stopped = threading.Event()
        """Set by `stop`: a handler that waits for it holds its connection open until then."""
        self._handler = handler or self._echo_over_tls
        self._listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._listener.getsockname()[1]
        if context is not None:
            context.sni_callback = lambda _, name, __: self.server_names.append(name)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def join(self) -> None:
        """Wait until every connection has ended."""
        for thread in tuple(self._threads[1:]):
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def stop(self) -> None:
        """Stop listening, and wait until every connection has ended."""
        self.stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        self.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._handle, args=[connection], daemon=True))
                self._threads[-1].start()

    def _handle(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with connection, suppress(OSError):
            self._handler(connection)

    def _echo_over_tls(self, connection: socket.socket) -> None:
        with self.handshake(connection) as client:
            self.echo(client)
            client.unwrap()

    def handshake(self, connection: socket.socket) -> ssl.SSLSocket:
        """Complete the TLS handshake; return the TLS connection."""
        assert self.context is not None
        client = self.context.wrap_socket(connection, server_side=True)
        certificate = client.getpeercert()
        if certificate:
            self.client_subjects.append(certificate["subject"])
        return client

    def echo(self, client: socket.socket) -> None:
        """Echo one record."""
        record = b""
        while len(record) < len(RECORD) and (piece := client.recv(65536)):
            record += piece
            self.received += piece
        client.sendall(record)


def server_context(
    pair: Pair,
    *,
    version: ssl.TLSVersion | None = None,
    ciphers: str = "",
    client_ca: Path | None = None,
) -> ssl.SSLContext:
    """Return the context of a server; `version` is the only version it accepts, if it is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if version is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # tests of old versions set them on purpose
            context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


@contextmanager
def tls_server(handler: Handler | None = None, context: ssl.SSLContext | None = None) -> Iterator[TLSServer]:
    """Yield a listening server; stop it afterwards."""
    server = TLSServer(handler, context)
    try:
        yield server
    finally:
        server.stop()
