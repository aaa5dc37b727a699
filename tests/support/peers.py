"""Echo peers that are not the daemon: plain sockets in threads, each behaviour is a function, every wait is bounded."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.support.processes import abort
from tests.support.tls_server import tls_server

Peer = Callable[[socket.socket], None]


def stream(connection: socket.socket) -> None:
    """Echo each piece as it is received, as RFC 862 describes."""
    while data := connection.recv(65536):
        connection.sendall(data)


def receive(connection: socket.socket, size: int = 250) -> bytes:
    """Receive `size` bytes, or fewer at the end of the stream."""
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def one_then_close(connection: socket.socket) -> None:
    """Echo one record, and close at once."""
    connection.sendall(receive(connection))


def flips(offset: int) -> Peer:
    """Return the peer that changes one bit at `offset`."""

    def behave(connection: socket.socket) -> None:
        data = bytearray(receive(connection))
        data[offset] ^= 4
        connection.sendall(data)
        connection.recv(1)

    return behave


def one_behind() -> Peer:
    """Return the peer that answers with the record before; on the first connection, with an echo."""
    before: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        data = receive(connection)
        answer = before[-1] if before else data
        before.append(data)  # before the answer, after which the next record can arrive
        connection.sendall(answer)
        connection.recv(1)

    return behave


def swaps(connection: socket.socket) -> None:
    """Receive two records, and send the second first."""
    first, second = receive(connection), receive(connection)
    connection.sendall(second + first)
    connection.recv(1)


def sends(answer: bytes) -> Peer:
    """Return the peer that answers a record with `answer`, and keeps the connection."""

    def behave(connection: socket.socket) -> None:
        receive(connection)
        connection.sendall(answer)
        connection.recv(1)

    return behave


def forgets(after: float) -> Peer:
    """Return the peer that resets a connection after `after` seconds without bytes."""

    def behave(connection: socket.socket) -> None:
        connection.settimeout(after)
        try:
            stream(connection)
        except TimeoutError:
            abort(connection)

    return behave


def delays(seconds: float) -> Peer:
    """Return the peer that echoes after `seconds`."""

    def behave(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            time.sleep(seconds)
            connection.sendall(data)

    return behave


def swallows_from(size: int) -> Peer:
    """Return the peer that ignores reads of `size` bytes or more, as behind an MTU black hole."""

    def behave(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            if len(data) < size:
                connection.sendall(data)

    return behave


def closes_after(size: int) -> Peer:
    """Return the peer that sends `size` bytes of the echo, and closes."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(receive(connection)[:size])

    return behave


def resets_after(size: int) -> Peer:
    """Return the peer that sends `size` bytes of the echo, and resets."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(receive(connection)[:size])
        time.sleep(0.1)  # a reset discards bytes that the client has not read yet, and no event says when it has
        abort(connection)

    return behave


def hears(connection: socket.socket) -> None:
    """Receive everything, and send nothing."""
    while connection.recv(65536):
        pass


def answers(answer: bytes) -> Peer:
    """Return the peer that answers a record with `answer`, and closes."""

    def behave(connection: socket.socket) -> None:
        receive(connection)
        connection.sendall(answer)

    return behave


def greets(greeting: bytes) -> Peer:
    """Return the peer that sends first."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(greeting)
        hears(connection)

    return behave


def truncates(connection: socket.socket) -> None:
    """Receive two records, and send the second in the middle of the first."""
    first, second = receive(connection), receive(connection)
    connection.sendall(first[:99] + second)
    connection.recv(1)


@contextmanager
def full_backlog() -> Iterator[int]:
    """Yield a port of 127.0.0.1 with a full backlog: the kernel drops every SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as waiting:
        port: int = server.getsockname()[1]
        for _ in range(3):  # the kernel makes a backlog of 0 a backlog of 1; further attempts get no answer
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


@contextmanager
def peer(behave: Peer) -> Iterator[int]:
    """Yield the port of such a peer, on every address of this host; it is stopped afterwards."""
    with tls_server(behave) as server:
        yield server.port
