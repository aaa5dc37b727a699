"""TCP connections and ports that ask no more of the kernel than the exchange takes.

They are Twisted's own and keep its contract. What differs:

- What is written is sent at once. Only what the kernel does not take is buffered, and waited for.
- A half-close with nothing buffered is done at once, so `writeConnectionLost` may be called before
  `loseWriteConnection` returns, as with Twisted `connectionLost` may be before a `loseConnection` after it returns.
- A socket that is closed is not taken off the poller first: closing it does that.
- What only a log asks of a connection is made when a log asks.
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

__all__ = ["FastConnection", "FastPort"]

READ_SIZE = 1 << 16
"""Bytes to ask of one recv: Twisted's own number."""

MOST_ACCEPTS = 64
"""Connections to accept before those that are open have their turn."""

FULL_TIMES = 4
"""How often as many connections must have come as were asked for, before twice as many are."""

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
    """Twisted's name for what is to be sent after `dataBuffer`. A list once there is such."""

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

    def __repr__(self) -> str:
        name = type(getattr(self, "protocol", self)).__name__
        return f"<{name} #{self.sessionno} on {self.server._realPortNumber}>"

    @property
    def logstr(self) -> str:  # type: ignore[override]  # Twisted's is an attribute, and a string for each connection
        """What a log calls it: its protocol, its number, its peer."""
        protocol = getattr(self, "protocol", None)  # it goes with the connection
        name = type(self).__name__ if protocol is None else self._getLogPrefix(protocol)
        return f"{name},{self.sessionno},{self.client[0]}"

    def logPrefix(self) -> str:
        """Return `logstr`."""
        return self.logstr

    def fileno(self) -> int:
        """Return the descriptor; -1 when the connection is over."""
        return self._fd

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
        """Send `data`, or what the kernel takes of it, and buffer the rest."""
        if not (
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
        super().write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all of `iovec` as one."""
        pieces = list(iovec)
        if not all(isinstance(each, bytes) for each in pieces):
            raise TypeError("Data must be bytes")
        self.write(b"".join(pieces))

    # Its end

    def loseWriteConnection(self) -> None:
        """Shut the sending side when what was written is sent: now, where it is."""
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
        try:
            told()
        except BaseException:
            log.callWithLogger(self, log.err)
            self.connectionLost(Failure())

    def loseConnection(self) -> None:
        """Close when what was written is sent: now, where the sending side is shut."""
        if self._writeDisconnected and self.connected and not self.disconnecting and not self.TLS:
            self.connectionLost(_DONE)
        else:
            super().loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and tell the protocol. Only the first call counts."""
        if self._fd < 0:
            return
        self.disconnected = 1
        self.connected = 0
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        self.reactor.forget(self._fd)
        self._fd = -1
        if isinstance(reason.value, ConnectionAborted):
            self._closeSocket(False)  # with a reset
        else:
            self.socket.close()
        protocol = self.protocol
        del self.protocol, self.socket
        protocol.connectionLost(reason)


class FastPort(Port):
    """A listening port whose connections are `FastConnection`s."""

    reactor: "Poller"
    transport = FastConnection  # type: ignore[assignment]  # what may stand here may be any that takes the arguments
    numberAccepts = 1
    _times_full = 0

    def startListening(self) -> None:
        """Listen. Raises CannotListenError."""
        super().startListening()
        self.numberAccepts = 1  # Twisted begins with 100

    def doRead(self) -> None:
        """Accept what waits, up to `numberAccepts` connections.

        One more accept, which finds that nobody waits, takes as long as a third of an accept that finds somebody. So
        as many are asked for as came of late.
        """
        for accepted in range(self.numberAccepts):
            try:
                # What accept() of the socket module wraps, at the price of as much again.
                descriptor, client = self.socket._accept()  # type: ignore[union-attr]  # typeshed has it elsewhere
            except BlockingIOError:
                self.numberAccepts = max(1, accepted)
                self._times_full = 0
                return
            except OSError:
                super().doRead()  # which meets it again, and knows what to do and to log
                return
            try:
                self._serve(socket.SocketType(self.addressFamily, self.socketType, 0, descriptor), client)
            except BaseException:
                log.err()
        self._times_full += 1
        if self._times_full == FULL_TIMES:
            self._times_full = 0
            self.numberAccepts = min(2 * self.numberAccepts, MOST_ACCEPTS)

    def _serve(self, sock: socket.SocketType, client: tuple[Any, ...]) -> None:
        if len(client) == 4 and client[3]:  # noqa: PLR2004 - a scoped IPv6 address
            host, _ = socket.getnameinfo(client, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
            client = (host, *client[1:])
        assert self.factory is not None
        protocol = self.factory.buildProtocol(self._buildAddr(client))
        if protocol is None:
            sock.close()
            return
        number = self.sessionno
        self.sessionno = number + 1
        connection = self.transport(sock, protocol, client, self, number, self.reactor)  # type: ignore[arg-type]  # socket.socket is a wrapper too
        protocol.makeConnection(connection)
