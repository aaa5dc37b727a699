"""Blocking sockets for tests; every wait is bounded."""

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 20.0
"""Seconds for which a test waits for what should happen at once."""

RECORD = bytes(range(250))
"""A record of the default size, in which no two bytes are equal."""


FIRST_PORT, PORTS = 10_000, 20_000
"""The ports of the tests are below those that the kernel gives to clients, which would take them now and then."""

_numbers = itertools.count(os.getpid() * 101)  # processes that run tests beside each other begin at different ports


def free_port() -> int:
    """Return a TCP port that was free a moment ago on all addresses of IPv4 and IPv6; each call, another one."""
    for number in _numbers:
        port = FIRST_PORT + number % PORTS
        with (
            contextlib.suppress(OSError),
            socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True),
        ):
            return port
    raise AssertionError("count() has no end")


@contextmanager
def connected(port: int, host: str = "::1") -> Iterator[socket.socket]:
    """Yield a connection to a local port; close it afterwards."""
    with socket.create_connection((host, port), timeout=PATIENCE) as client:
        yield client


def receive_to_end(client: socket.socket) -> bytes:
    """Return the bytes received until the peer's FIN."""
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def exchange(port: int, data: bytes, host: str = "::1") -> bytes:
    """Send `data`, half-close, and return the bytes received until the peer's FIN."""
    with connected(port, host) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return receive_to_end(client)
