"""The TCP transport of a probe: sends at once, and reads TCP_INFO before the connection is closed."""

import socket
import sys
from typing import Any

from echod.client.outcomes import KernelFacts
from echod.client.tcp_info import TCP_INFO_SIZE, read_tcp_info

__all__ = ["ImmediateTransport"]


class ImmediateTransport:
    """Wraps Twisted's TCP transport, also the one under TLS.

    Twisted's write leaves sending to the reactor's next turn, which would count as time of the path. Here the socket is
    tried first (`ISystemHandle.getHandle`), as long as Twisted's buffer is empty. What does not fit into the kernel's
    buffer goes to Twisted's, and so does everything after it, because no event says when that is empty again.
    """

    def __init__(self, transport: Any) -> None:
        handle = getattr(transport, "getHandle", lambda: None)()
        self._transport = transport
        self._socket = handle if isinstance(handle, socket.socket) else None
        self._sends_at_once = self._socket is not None
        self._facts: KernelFacts | None = None
        self.broken = False
        """Whether a write failed because of a reset. The kernel reports that once: the next read sees only an end."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data`, as much of it as the kernel takes now."""
        if self._sends_at_once:
            assert self._socket is not None
            try:
                sent = self._socket.send(data)
            except BlockingIOError:  # the kernel's buffer is full
                sent = 0
            except OSError:  # Twisted's next read reports the end
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
        """Return TCP_INFO of the connection; after it was closed at this end, as it was then.

        None if the system has no TCP_INFO, or the connection ended before it could be read.
        """
        if sys.platform == "linux" and self._socket is not None and self._socket.fileno() >= 0:
            try:
                info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
            except OSError:  # not a TCP socket
                return None
            self._facts = read_tcp_info(info)
        return self._facts
