"""The ways into a daemon: plain TCP, behind a proxy, TLS of each version, with a client for each."""

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
"""The client's address that the PROXY headers tell."""

V1_HEADER = f"PROXY TCP4 {PEER} 192.0.2.1 40000 3005\r\n".encode()
V2_HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(
    "!H4s4sHH", 12, socket.inet_aton(PEER), socket.inet_aton("192.0.2.1"), 40000, 3005
)


@dataclass
class Files:
    """Where the certificates are."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


class Client:
    """A blocking TCP client."""

    def __init__(self, port: int, header: bytes = b"") -> None:
        self.socket = socket.create_connection(("::1", port), timeout=PATIENCE)
        self.socket.sendall(header)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, most: int) -> bytes:
        return self.socket.recv(most)

    def end(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        abort(self.socket)

    def close(self) -> None:
        self.socket.close()


class TLSClient(Client):
    """A blocking TLS client that can say close_notify and read on."""

    def __init__(self, port: int, context: SSL.Context) -> None:
        super().__init__(port)
        self.socket.settimeout(None)
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

    def receive(self, most: int) -> bytes:
        try:
            return self.tls.recv(most)
        except SSL.ZeroReturnError:
            return b""

    def end(self) -> None:
        self.tls.shutdown()
        super().end()

    def close(self) -> None:
        with suppress(SSL.Error):
            self.tls.shutdown()
        super().close()


class AbruptTLSClient(TLSClient):
    """A TLS client whose FIN comes without a close_notify."""

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


def context_of(files: Files, version: int, certificate: bool = False) -> SSL.Context:
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


def receive_to_end(client: Client) -> Iterator[bytes]:
    while piece := client.receive(65536):
        yield piece


def receive(client: Client, size: int) -> bytes:
    received = b""
    while len(received) < size and (piece := client.receive(size - len(received))):
        received += piece
    return received


def options_of(path: str, port: int, files: Files) -> dict[str, Any]:
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
