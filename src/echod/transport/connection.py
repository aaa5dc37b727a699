"""TCP connections that ask no more of the kernel than the exchange takes.

They are Twisted's own and keep its contract. What differs:

- What is written is sent at once. Only what the kernel does not take is buffered, and waited for.
- A half-close with nothing buffered is done at once, so `writeConnectionLost` may be called before
  `loseWriteConnection` returns, as with Twisted `connectionLost` may be before a `loseConnection` after it returns.
- A socket that is closed is not taken off the poller first: closing it does that.
- What only a log asks of a connection is made when a log asks.
- What a protocol raises ends its own connection, wherever it is raised: Twisted leaves one open whose `connectionMade`
  failed, and hands on what `connectionLost` raises to whoever ended it, which may be another connection.
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
"""Bytes to ask of one recv: Twisted's own number."""

_LATER = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})
"""Errors of send(2) that mean: not now."""

_DONE = Failure(CONNECTION_DONE)


class FastConnection(Server):
    """The server's side of a TCP connection."""

    reactor: "Poller"
    _fd = -1
    _send_failed = False
    """The kernel tells of an error once: after a send that got it, recv finds nothing but a clean end."""
    _tempDataBuffer: Any = ()
    """Twisted's name for what is to be sent after `dataBuffer`. A list once there is such, or TLS to write to it."""

    def __init__(  # Server's own would make two strings, a list and a method for each connection
        self,
        sock: socket.socket,
        protocol: IProtocol,
        client: tuple[Any, ...],
        server: Port,
        sessionno: int,
        reactor: "Poller",
    ) -> None:
        """Take over an accepted socket. The arguments are those of Twisted's `Server`."""
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
        # What each write asks. Twisted has these with its classes, of which there are many to look through: 0.35 µs.
        self.dataBuffer = b""
        self._tempDataLen = 0
        self._writeDisconnected = False
        self.TLS = False
        self.producer = None
        self.streamingProducer = False
        reactor.addReader(self)

    def begin(self) -> None:
        """Tell the protocol of its connection, which ends where that raises anything."""
        try:
            self.protocol.makeConnection(self)
        except BaseException:  # as Twisted: it is this connection's
            log.callWithLogger(self, log.err)
            self.connectionLost(Failure())

    def __repr__(self) -> str:
        name = type(getattr(self, "protocol", self)).__name__
        return f"<{name} #{self.sessionno} on {self.server._realPortNumber}>"

    @property
    def hostname(self) -> str:  # type: ignore[override]  # Twisted's is an attribute
        """The peer's address, as Twisted's `Server` has it."""
        return str(self.client[0])

    @property
    def logstr(self) -> str:  # type: ignore[override]  # Twisted's is an attribute, and a string for each connection
        """What a log calls it: its protocol, its number, its peer."""
        protocol = getattr(self, "protocol", None)  # it goes with the connection
        name = type(self).__name__ if protocol is None else self._getLogPrefix(protocol)
        return f"{name},{self.sessionno},{self.hostname}"

    def logPrefix(self) -> str:
        """Return `logstr`."""
        return self.logstr

    def fileno(self) -> int:
        """Return the descriptor; -1 when the connection is over."""
        return self._fd

    def getHandle(self) -> socket.socket:
        """Return the socket, as an object of the socket module's own class: made once somebody asks for it."""
        held: Any = self.socket
        if not isinstance(held, socket.socket):
            self.socket = socket.socket(held.family, held.type, held.proto, fileno=held.detach())
            self.socket.setblocking(False)
        return self.socket

    def startTLS(self, ctx: Any, normal: bool = True) -> None:  # noqa: FBT001, FBT002 - the interface's
        """Speak TLS from here on, as `ITLSTransport.startTLS` says."""
        self._tempDataBuffer = list(self._tempDataBuffer)  # TLS writes to Twisted's own write, past the one here
        super().startTLS(ctx, normal)

    # Reading and writing

    def doRead(self) -> "ConnectionDone | ConnectionLost | None":  # type: ignore[override]  # of two, one says None
        """Hand what has come to the protocol."""
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
        """Send `data`, or what the kernel takes of it, and buffer the rest. Raises TypeError for what is not bytes."""
        if isinstance(data, bytes) and not (
            self.dataBuffer
            or self._tempDataLen
            or self._writeDisconnected
            or self.TLS
            or not self.connected
            or (self.producer is not None and not self.streamingProducer)  # a pull producer waits for the buffer
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
        super().write(data)  # which refuses what is not bytes

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all of `iovec` as one. Raises TypeError where any of it is not bytes."""
        pieces = list(iovec)
        if not all(isinstance(each, bytes) for each in pieces):
            raise TypeError("Data must be bytes")
        self.write(b"".join(pieces))

    # Its end

    def loseWriteConnection(self) -> None:
        """Shut the sending side when what was written is sent: now, where it is."""
        if self._writeDisconnected or self.disconnecting:
            return
        if self._writeDisconnecting or self.dataBuffer or self._tempDataLen or self.producer is not None or self.TLS:
            super().loseWriteConnection()
        elif self.connected:
            self._writeDisconnecting = self._writeDisconnected = True
            self._closeWriteConnection()

    def _closeWriteConnection(self) -> None:
        try:  # noqa: SIM105 - contextlib.suppress takes 0.4 µs of each connection
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._tell(self.protocol.writeConnectionLost)

    def readConnectionLost(self, reason: Failure) -> None:
        """Pass the peer's FIN on; a protocol that is not half-closeable loses its connection."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._tell(self.protocol.readConnectionLost)
        else:
            self.connectionLost(reason)

    def _tell(self, told: Callable[[], None]) -> None:
        """Call one of the protocol's methods; the connection ends where that raises anything."""
        problem = self._told(told)
        if problem is not None:
            self.connectionLost(problem)

    def _told(self, told: Callable[[], None]) -> Failure | None:
        """Call `told`; log what it raises, under this connection's name, and return it."""
        try:
            told()
        except BaseException:  # as Twisted: it is this connection's
            problem = Failure()
            log.callWithLogger(self, log.err, problem)
            return problem
        return None

    def loseConnection(self) -> None:
        """Close when what was written is sent: now, where the sending side is shut."""
        if self._aborting:
            return
        if self._writeDisconnected and self.connected and not self.disconnecting and not self.TLS:
            self.connectionLost(_DONE)
        else:
            super().loseConnection()

    def abortConnection(self) -> None:
        """Close with a reset, in the reactor's next turn. Nothing is sent any more."""
        super().abortConnection()
        self._writeDisconnected = True

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and tell the protocol. Only the first call counts.

        It raises nothing: who ends this connection may be another, to which our protocol's errors are no matter.
        """
        if self._fd < 0:
            return
        self.disconnected = 1
        self.connected = 0
        fd, self._fd = self._fd, -1
        try:
            if self.producer is not None:
                producer, self.producer = self.producer, None
                self._told(producer.stopProducing)
            self.reactor.forget(fd)
            if isinstance(reason.value, ConnectionAborted):
                self._closeSocket(False)  # with a reset
            else:
                self.socket.close()
            del self.socket
            self.protocol.connectionLost(reason)
        except BaseException:  # as Twisted: it is this connection's
            log.callWithLogger(self, log.err)
        del self.protocol  # not before: the log goes by its name
