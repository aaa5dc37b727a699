"""The TCP connection under a probe: sends at once, and asks the kernel about it before it is gone."""

import socket
import sys
from typing import Any

from echod.client.outcomes import KernelFacts
from echod.client.tcp_info import TCP_INFO_SIZE, read_tcp_info

__all__ = ["ImmediateTransport"]


class ImmediateTransport:
    """A transport in front of Twisted's, which it stands in for under TLS too.

    Twisted's own write leaves the sending to the reactor's next turn: a time that would count as the path's. Here the
    socket is tried first (`ISystemHandle.getHandle`), as long as nothing waits in Twisted's buffer. What does not
    fit into the kernel's goes there, and all that follows, for nothing tells when that is empty again.
    """

    def __init__(self, transport: Any) -> None:
        handle = getattr(transport, "getHandle", lambda: None)()
        self._transport = transport
        self._socket = handle if isinstance(handle, socket.socket) else None
        self._sends_at_once = self._socket is not None
        self._facts: KernelFacts | None = None
        self.broken = False
        """Whether a write found the connection reset. The kernel tells that once: who reads next finds a mere end."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data`, as much of it as the kernel takes now."""
        if self._sends_at_once:
            assert self._socket is not None
            try:
                sent = self._socket.send(data)
            except BlockingIOError:  # full
                sent = 0
            except OSError:  # Twisted will find out that it is over
                self.broken = True
                sent = 0
            if sent == len(data):
                return
            self._sends_at_once = False
            data = data[sent:]
        self._transport.write(data)

    def writeSequence(self, pieces: list[bytes]) -> None:
        """Send `pieces` in their order."""
        self.write(b"".join(pieces))

    def loseConnection(self) -> None:
        """Close in order."""
        self.kernel_facts()
        self._sends_at_once = False
        self._transport.loseConnection()

    def abortConnection(self) -> None:
        """Close with a reset."""
        self.kernel_facts()
        self._sends_at_once = False
        self._transport.abortConnection()

    def kernel_facts(self) -> KernelFacts | None:
        """Return what the kernel knows of the connection; once it is gone, what it knew when it was closed here.

        None where there is no TCP_INFO, and where the connection was gone before it could be asked.
        """
        if sys.platform == "linux" and self._socket is not None and self._socket.fileno() >= 0:
            try:
                info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
            except OSError:  # no TCP socket
                return None
            self._facts = read_tcp_info(info)
        return self._facts
