"""TLS servers that are not Twisted's: Python's ssl module in threads, every wait bounded."""

import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.certificates import Pair
from tests.support.sockets import PATIENCE, RECORD

Behaviour = Callable[[socket.socket], None]
"""What a server does with a connection that was accepted."""


class TLSServer:
    """Listens on a port of its own, on every address; each connection in a thread."""

    def __init__(self, behave: "Behaviour | None" = None, context: ssl.SSLContext | None = None) -> None:
        self.context = context
        self.received = b""
        """Application bytes, of all connections."""
        self.indicated: list[str | None] = []
        """What SNI said."""
        self.subjects: list[object] = []
        """The subjects of clients' certificates."""
        self.over = threading.Event()
        self._behave = behave or self._echo_over_tls
        self._listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._listener.getsockname()[1]
        if context is not None:
            context.sni_callback = lambda _, name, __: self.indicated.append(name)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def finish(self) -> None:
        """Wait until every connection is done with."""
        for thread in tuple(self._threads[1:]):
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def stop(self) -> None:
        """End it all."""
        self.over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        self.finish()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._handle, args=[connection], daemon=True))
                self._threads[-1].start()

    def _handle(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with connection, suppress(OSError):
            self._behave(connection)

    def _echo_over_tls(self, connection: socket.socket) -> None:
        with self.shaken(connection) as client:
            self.echo(client)
            client.unwrap()

    def shaken(self, connection: socket.socket) -> ssl.SSLSocket:
        """Shake hands; return the connection."""
        assert self.context is not None
        client = self.context.wrap_socket(connection, server_side=True)
        shown = client.getpeercert()
        if shown:
            self.subjects.append(shown["subject"])
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
    """Return the server's side of TLS; with `version`, that one only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if version is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is why it is asked for
            context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


@contextmanager
def tls_server(behave: Behaviour | None = None, context: ssl.SSLContext | None = None) -> Iterator[TLSServer]:
    """Give a server that listens; it is stopped afterwards."""
    server = TLSServer(behave, context)
    try:
        yield server
    finally:
        server.stop()
