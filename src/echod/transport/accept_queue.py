"""The accept queue of a listening TCP socket, as the Linux kernel reports it."""

import socket
import struct
from dataclasses import dataclass

__all__ = ["AcceptQueue", "accept_queue"]

_TCP_LISTEN = 10
"""tcpi_state of a listening socket (linux, net/tcp_states.h)."""

_INFO = struct.Struct("=B23xII")
"""struct tcp_info up to tcpi_sacked: tcpi_state; tcpi_unacked, which is the length of a listening socket's queue; and
tcpi_sacked, its limit."""

_SO_MEMINFO = 55
"""Linux, asm-generic/socket.h; the socket module lacks the name."""

_MEMINFO = struct.Struct("=32xI")
"""The ninth number is SK_MEMINFO_DROPS (linux/sock_diag.h)."""


@dataclass(frozen=True, slots=True)
class AcceptQueue:
    """The queue of established connections that wait for accept."""

    waiting: int
    """Connections in the queue."""
    limit: int
    """The backlog, which the kernel cuts to net.core.somaxconn. The queue holds one connection more."""
    dropped: int
    """Packets that the kernel has dropped at this socket: of handshakes that found the queue full, and stray packets,
    such as a RST for a connection that has ended. It wraps at 2**32."""

    @property
    def full(self) -> bool:
        """Whether the kernel drops further handshakes."""
        return self.waiting > self.limit


def accept_queue(listening: socket.socket) -> AcceptQueue | None:
    """Return the accept queue of a socket. None: the socket does not listen for TCP, or the system is not Linux."""
    try:
        state, waiting, limit = _INFO.unpack(listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
        (dropped,) = _MEMINFO.unpack(listening.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (AttributeError, OSError, struct.error):  # no TCP_INFO in the socket module, a Unix socket, short answers
        return None
    return AcceptQueue(waiting, limit, dropped) if state == _TCP_LISTEN else None
