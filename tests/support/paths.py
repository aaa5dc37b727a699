"""The paths into a daemon: plain TCP, the PROXY protocol, TLS of each version; a client and the options for each."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from tests.support.processes import abort
from tests.support.sockets import PATIENCE

__all__ = [
    "PATHS",
    "PEER",
    "V1_HEADER",
    "V2_HEADER",
    "Client",
    "Files",
    "TLSClient",
    "context_of",
    "options_of",
    "receive",
    "receive_to_end",
]

PEER = "192.0.2.77"
"""The client's address in the PROXY headers."""

V1_HEADER = f"PROXY TCP4 {PEER} 192.0.2.1 40000 3005\r\n".encode()
V2_HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(
    "!H4s4sHH", 12, socket.inet_aton(PEER), socket.inet_aton("192.0.2.1"), 40000, 3005
)
V2_LOCAL = V2_HEADER[:12] + b"\x20\0\0\0"
"""The header of a connection of the proxy's own."""


@dataclass
class Files:
    """The paths of the PEM files."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


class Client:
    """A blocking TCP client."""

    def __init__(self, port: int, header: bytes = b"") -> None:
        """Connect; send `header`, a PROXY header or no bytes."""
        self.socket = socket.create_connection(("::1", port), timeout=PATIENCE)
        self.socket.sendall(header)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, limit: int) -> bytes:
        """Return 1 to `limit` bytes; none at the end of the input."""
        return self.socket.recv(limit)

    def half_close(self) -> None:
        """Close the sending side."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset."""
        abort(self.socket)

    def close(self) -> None:
        self.socket.close()


class TLSClient(Client):
    """A blocking TLS client. It sends close_notify before its FIN, and can read after it."""

    def __init__(self, port: int, context: SSL.Context) -> None:
        super().__init__(port)
        self.socket.settimeout(None)
        # Nagle's algorithm would hold the first record back behind the handshake, and a reset would discard it.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(PATIENCE), 0))
        self.tls = SSL.Connection(context, self.socket)
        self.tls.set_connect_state()
        try:
            self.tls.do_handshake()
        except SSL.Error:
            self.socket.close()
            raise

    def send(self, data: bytes) -> None:
        self.tls.sendall(data)

    def receive(self, limit: int) -> bytes:
        try:
            return self.tls.recv(limit)
        except SSL.ZeroReturnError:
            return b""

    def half_close(self) -> None:
        self.tls.shutdown()
        super().half_close()

    def close(self) -> None:
        with suppress(SSL.Error):
            self.tls.shutdown()
        super().close()


class AbruptTLSClient(TLSClient):
    """A TLS client that sends its FIN without a close_notify."""

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


def context_of(files: Files, version: int, certificate: bool = False) -> SSL.Context:
    """Return a client's context for one version of TLS, with the client's certificate if `certificate`."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.load_verify_locations(str(files.authority))
    context.set_verify(SSL.VERIFY_PEER)
    if certificate:
        context.use_certificate_file(str(files.client))
        context.use_privatekey_file(str(files.client_key))
    return context


PATHS: dict[str, Callable[[int, Files], Client]] = {
    "tcp": lambda port, _: Client(port),
    "haproxy-v1": lambda port, _: Client(port, V1_HEADER),
    "haproxy-v2": lambda port, _: Client(port, V2_HEADER),
    "tls-1.2": lambda port, files: TLSClient(port, context_of(files, SSL.TLS1_2_VERSION)),
    "tls-1.3": lambda port, files: TLSClient(port, context_of(files, SSL.TLS1_3_VERSION)),
    "tls-1.2-abrupt": lambda port, files: AbruptTLSClient(port, context_of(files, SSL.TLS1_2_VERSION)),
    "tls-1.3-abrupt": lambda port, files: AbruptTLSClient(port, context_of(files, SSL.TLS1_3_VERSION)),
    "mutual-tls": lambda port, files: TLSClient(port, context_of(files, SSL.TLS1_3_VERSION, certificate=True)),
}
"""Functions that connect to a port and return the client, by the name of the path."""


def receive_to_end(client: Client) -> Iterator[bytes]:
    """Yield the received bytes until the end of the input."""
    while piece := client.receive(65536):
        yield piece


def receive(client: Client, size: int) -> bytes:
    """Return `size` received bytes; fewer if the input ends before."""
    received = b""
    while len(received) < size and (piece := client.receive(size - len(received))):
        received += piece
    return received


def options_of(path: str, port: int, files: Files) -> dict[str, Any]:
    """Return the server's options for a listener on `port` of one of the PATHS."""
    if path == "tcp":
        return {"port": port}
    if path.startswith("haproxy"):
        return {"listen": (rf"haproxy:tcp6:{port}:interface=\:\:1",)}
    options: dict[str, Any] = {
        "tls_port": port,
        "tls_certificate": str(files.server),
        "tls_key": str(files.server_key),
    }
    if path == "mutual-tls":
        options["tls_client_ca"] = str(files.authority)
    return options
