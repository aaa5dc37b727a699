"""Closing a listening socket without resetting a client.

When a listening socket closes, the kernel resets the connections in its queue and those whose handshake is in progress.
With SO_REUSEPORT the kernel gives the socket its share of new clients until that moment, although another process
listens on the port too. So the socket first drops new SYNs, then its queue is accepted, and it closes in the same turn
of the reactor. A client whose SYN was dropped sends it again after a second (RFC 6298 section 2), and reaches the other
process.

Measured with eight clients that connect without pause, 20 restarts each (tests/process/test_restart.py has the
scenario): 42 resets with a plain accept and close, 7 with a close right after the whole queue, none with this, and a
delay of a second at most.
"""

import contextlib
import ctypes
import socket
import struct
import sys
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

__all__ = ["close_without_loss"]

_SO_ATTACH_FILTER = 26
"""Linux, asm-generic/socket.h; the socket module lacks the name. The number means something else on other systems."""

_DROP_SYN = b"".join(
    struct.pack("=HBBI", *step)
    for step in (
        (0x30, 0, 0, 13),  # load byte 13 of the TCP header: the flags
        (0x45, 0, 1, 0x02),  # is SYN among them?
        (0x06, 0, 0, 0),  # yes: accept 0 bytes of the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # no: accept all of it
    )
)
"""A classic BPF program (Linux, Documentation/networking/filter.rst)."""

_ALL = 1 << 16
"""Connections to accept: more than a queue can hold, since listen(2) takes a backlog of 65,535 at most."""


def close_without_loss(port: IListeningPort) -> None:
    """Accept the connections in the queue of `port`, and close it, now. It must be one of Twisted's own ports."""
    closing: Any = port
    if sys.platform == "linux" and closing.addressFamily in (socket.AF_INET, socket.AF_INET6):
        _drop_new_clients(closing.socket)
    closing.numberAccepts = _ALL
    closing.doRead()
    # stopListening would do the same in the next turn, when the queue may have new connections.
    closing.stopReading()
    closing.connectionLost(Failure(ConnectionDone()))


def _drop_new_clients(listening: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    steps = len(_DROP_SYN) // 8
    # OSError: the kernel has no socket filters; a client may then be reset, as with a plain close.
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", steps, ctypes.addressof(program)))
