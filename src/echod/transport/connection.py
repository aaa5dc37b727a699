"""TCP connections of the fast transport.

They are Twisted's `Server` connections with these differences:

- `write` sends at once. Only data that the kernel does not accept is buffered until the socket is writable.
- A half-close without buffered data is immediate: `writeConnectionLost` may be called before `loseWriteConnection`
  returns. A `loseConnection` after the half-close may call `connectionLost` before it returns, as in Twisted.
- Closing takes one close, without a shutdown of both directions before it.
- Log names and the socket object are created on demand.
- An exception of a protocol ends its own connection, in every method. Twisted leaves the connection open if
  `connectionMade` raises, and passes an exception of `connectionLost` to the caller, which may be another connection.
"""

import errno
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv6Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Port, Server
from twisted.python import log
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.error import ConnectionDone, ConnectionLost

    from echod.transport.poller import Poller

__all__ = ["FastConnection"]

READ_SIZE = 1 << 16
"""Maximum bytes of one recv, the same as in Twisted."""

_LATER = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})
"""Errors of send(2) after which a later attempt may succeed."""

_DONE = Failure(CONNECTION_DONE)


class FastConnection(Server):
    """The server side of a TCP connection."""

    reactor: "Poller"
    _fd = -1
    _send_failed = False
    """A send failed. The kernel reports a socket error once: a later recv returns a normal end of the stream."""
    _tempDataBuffer: Any = ()
    """Data to send after `dataBuffer`. Replaced by a list before the first append."""

    def __init__(  # Server.__init__ would create two strings, a list and a bound method
        self,
        sock: socket.socket,
        protocol: IProtocol,
        client: tuple[Any, ...],
        server: Port,
        sessionno: int,
        reactor: "Poller",
    ) -> None:
        """Own an accepted socket and wait for its data. The arguments are those of Twisted's `Server`."""
        sock.setblocking(False)
        self.socket = sock
        self._fd = sock.fileno()
        self.protocol = protocol
        self.client = client
        self.server = server
        self.sessionno = sessionno
        self.reactor = reactor
        if len(client) != 2:  # noqa: PLR2004 - an IPv4 address is a pair, an IPv6 one has four parts
            self._addressType = IPv6Address
        self.connected = 1
        # Attributes that each write reads. In Twisted they are class attributes; the lookup through its classes takes
        # 0.35 µs a write (docs/performance.md).
        self.dataBuffer = b""
        self._tempDataLen = 0
        self._writeDisconnected = False
        self.TLS = False
        self.producer = None
        self.streamingProducer = False
        reactor.register(self._fd, self)

    def begin(self) -> None:
        """Call the protocol's makeConnection; an exception ends the connection."""
        try:
            self.protocol.makeConnection(self)
        except BaseException:  # as Twisted: the error affects this connection only
            log.callWithLogger(self, log.err)
            self.connectionLost(Failure())

    def __repr__(self) -> str:
        name = type(getattr(self, "protocol", self)).__name__
        return f"<{name} #{self.sessionno} on {self.server._realPortNumber}>"

    @property
    def hostname(self) -> str:  # type: ignore[override]  # Twisted's is an attribute
        """The peer's host address."""
        return str(self.client[0])

    @property
    def logstr(self) -> str:  # type: ignore[override]  # Twisted's is an attribute
        """The name of the connection in logs: protocol, number, peer."""
        protocol = getattr(self, "protocol", None)  # deleted when the connection ends
        name = type(self).__name__ if protocol is None else self._getLogPrefix(protocol)
        return f"{name},{self.sessionno},{self.hostname}"

    def logPrefix(self) -> str:
        """Return `logstr`."""
        return self.logstr

    def fileno(self) -> int:
        """Return the descriptor, or -1 after the end of the connection."""
        return self._fd

    def getHandle(self) -> socket.socket:
        """Return the connection's socket as a `socket.socket`, which is created on the first call."""
        held: Any = self.socket
        if not isinstance(held, socket.socket):
            self.socket = socket.socket(held.family, held.type, held.proto, fileno=held.detach())
            self.socket.setblocking(False)
        return self.socket

    def startTLS(self, ctx: Any, normal: bool = True) -> None:  # noqa: FBT001, FBT002 - the signature of ITLSTransport
        """Start TLS, as specified by `ITLSTransport.startTLS`."""
        self._tempDataBuffer = list(self._tempDataBuffer)  # TLS calls FileDescriptor.write, which appends to it
        super().startTLS(ctx, normal)

    # Reading and writing

    def doRead(self) -> "ConnectionDone | ConnectionLost | None":  # type: ignore[override]  # the two bases disagree
        """Receive data and pass it to the protocol; return the reason if the stream has ended."""
        try:
            data = self.socket.recv(READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if data:
            self.protocol.dataReceived(data)
            return None
        return CONNECTION_LOST if self._send_failed else CONNECTION_DONE

    def write(self, data: bytes) -> None:
        """Send as much of `data` as the kernel accepts and buffer the rest. Raises TypeError unless `data` is bytes."""
        if isinstance(data, bytes) and not (
            self.dataBuffer
            or self._tempDataLen
            or self._writeDisconnected
            or self.TLS
            or not self.connected
            or (self.producer is not None and not self.streamingProducer)  # a pull producer is resumed by doWrite
        ):
            try:
                sent = self.socket.send(data)
            except OSError as problem:
                self._send_failed = problem.errno not in _LATER
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        if not self._tempDataBuffer:
            self._tempDataBuffer = []
        super().write(data)  # raises TypeError unless data is bytes

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send the items of `iovec` with one write. Raises TypeError unless all are bytes."""
        pieces = list(iovec)
        if not all(isinstance(piece, bytes) for piece in pieces):
            raise TypeError("Data must be bytes")
        self.write(b"".join(pieces))

    # Closing

    def loseWriteConnection(self) -> None:
        """Shut down the sending side as soon as all data is sent, immediately if nothing is buffered."""
        if self._writeDisconnected or self.disconnecting:
            return
        if self._writeDisconnecting or self.dataBuffer or self._tempDataLen or self.producer is not None or self.TLS:
            super().loseWriteConnection()
        elif self.connected:
            self._writeDisconnecting = self._writeDisconnected = True
            self._closeWriteConnection()

    def _closeWriteConnection(self) -> None:
        try:  # noqa: SIM105 - contextlib.suppress takes longer, once for each connection
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._notify(self.protocol.writeConnectionLost)

    def readConnectionLost(self, reason: Failure) -> None:
        """Report the peer's FIN to a half-closeable protocol; for any other protocol, end the connection."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._notify(self.protocol.readConnectionLost)
        else:
            self.connectionLost(reason)

    def _notify(self, method: Callable[[], None]) -> None:
        """Call a method of the protocol; an exception ends the connection."""
        problem = self._call(method)
        if problem is not None:
            self.connectionLost(problem)

    def _call(self, method: Callable[[], None]) -> Failure | None:
        """Call `method`; log its exception under this connection's name, and return it."""
        try:
            method()
        except BaseException:  # as Twisted: the error affects this connection only
            problem = Failure()
            log.callWithLogger(self, log.err, problem)
            return problem
        return None

    def loseConnection(self) -> None:
        """Close as soon as all data is sent, immediately if the sending side is shut down."""
        if self._aborting:
            return
        if self._writeDisconnected and self.connected and not self.disconnecting and not self.TLS:
            self.connectionLost(_DONE)
        else:
            super().loseConnection()

    def abortConnection(self) -> None:
        """Discard the buffer, and close with a reset in the next iteration of the reactor."""
        super().abortConnection()
        self._writeDisconnected = True

    def _shut_down(self) -> None:
        """Send the FIN now: the close sends none while another process has the socket, such as a child that forked."""
        try:  # noqa: SIM105 - as in _closeWriteConnection
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # not connected any more
            pass

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket and call the protocol's connectionLost. Later calls are ignored.

        Exceptions are logged, not raised: the caller may be another connection.
        """
        if self._fd < 0:
            return
        self.disconnected = 1
        self.connected = 0
        fd, self._fd = self._fd, -1
        try:
            if self.producer is not None:
                producer, self.producer = self.producer, None
                self._call(producer.stopProducing)
            self.reactor.unregister(fd)
            if isinstance(reason.value, ConnectionAborted):
                self._closeSocket(False)  # with a reset
            else:
                if not self._writeDisconnected:
                    self._shut_down()
                self.socket.close()
            del self.socket
            self.protocol.connectionLost(reason)
        except BaseException:  # as Twisted: the error affects this connection only
            log.callWithLogger(self, log.err)
        del self.protocol  # after the logging above, which uses its name
