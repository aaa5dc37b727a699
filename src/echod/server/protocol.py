"""One connection: a record in under its deadline, the same record out, close.

What happens next depends on the state:

| state     | bytes                        | client's FIN        | deadline | server stops      |
| --------- | ---------------------------- | ------------------- | -------- | ----------------- |
| WAITING   | gather; echo a whole record, | close, once what    | close    | finish the record |
|           | then LINGERING; with         | was echoed has been |          | under way, then   |
|           | keep-alive WAITING again     | sent                |          | LINGERING         |
| LINGERING | discard                      | close               | close    | go on             |
| CLOSING   | discard                      | -                   | abort    | go on             |

A timer is armed from accept until the connection is lost, in every state, so no client can
hold a connection for longer than its deadlines.

The echo is followed by a lingering close, not a close: closing a socket with unread input
makes the kernel send a reset, and a reset can overtake the echo (RFC 1122 section 4.2.2.13).
So the sending side is shut, what still comes is read and dropped, and the connection is
closed when the client closes or the linger is over.
"""

import socket
from enum import Enum, auto
from typing import Protocol as Shape
from typing import cast

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.core.addresses import HostPort
from echod.core.closing import CloseReason, TLSFacts
from echod.core.configuration import Exchange
from echod.core.records import RecordBuffer

__all__ = ["ConnectionKeeper", "EchoProtocol"]


class IEchoTransport(ITCPTransport, IConsumer, IPushProducer):
    """What a connection needs of its transport: half-close, abort, and to be paused both ways."""


class State(Enum):
    """Where a connection is; the module's table says what each state does."""

    WAITING = auto()
    LINGERING = auto()
    CLOSING = auto()


class ConnectionKeeper(Shape):
    """Knows which connections are open: an `EchoProtocol` reports to one."""

    def connection_began(self, connection: "EchoProtocol") -> None:
        """Take note that `connection` is open."""

    def connection_ended(self, connection: "EchoProtocol", reason: CloseReason) -> None:
        """Take note that `connection` is over."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class EchoProtocol(Protocol):
    """The server's side of one connection.

    It is half-closeable, so that a client which sends its record and its FIN at once still
    gets the echo. With keep-alive it is also the transport's producer: while the client
    does not read, nothing more is read from it, and memory stays bounded.
    """

    pausing = False
    """Whether the transport is to pause us also where only one record is echoed."""
    records = 0
    """Records echoed."""
    bytes_received = 0
    bytes_sent = 0
    started: float
    """When it was accepted, by the clock that was passed in."""
    tls: TLSFacts | None = None
    """What its TLS handshake came to."""

    def __init__(self, peer: HostPort, exchange: Exchange, clock: IReactorTime, keeper: ConnectionKeeper) -> None:
        self.peer = peer
        self._exchange = exchange
        self._clock = clock
        self._keeper = keeper
        self._buffer = RecordBuffer(exchange.record_size)
        self._state = State.WAITING
        self._reason: CloseReason | None = None
        self._paused = False
        self._last_record = not exchange.keep_alive

    # IProtocol

    def connectionMade(self) -> None:
        """Start the record's deadline."""
        self._tcp = cast("IEchoTransport", self.transport)
        self.started = self._clock.seconds()
        self._timer: IDelayedCall = self._clock.callLater(self._exchange.timeout, self._deadline_passed)
        if self._exchange.keep_alive:
            # Nagle's algorithm would hold an echo back until the client acknowledges the one before.
            self._tcp.setTcpNoDelay(True)
        if self._pausable:
            self._tcp.registerProducer(self, True)
        self._keeper.connection_began(self)

    def dataReceived(self, data: bytes) -> None:
        """Gather `data`, and echo what it completes."""
        self.bytes_received += len(data)
        if self._state is not State.WAITING:
            return
        whole = self._buffer.feed(data)
        if not whole:
            return
        if self._last_record:
            if self._exchange.keep_alive:
                self._join_the_fin()
            self._echo(whole[: self._exchange.record_size])
            self._shut_sending_side(CloseReason.ECHOED)
        else:
            self._echo(whole)
            self._timer.reset(self._exchange.timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Disarm the timer and tell how it went."""
        if self._timer.active():
            self._timer.cancel()
        ended = self._reason_of(reason)
        self._state = State.CLOSING
        self._keeper.connection_ended(self, ended)

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        """Take the client's FIN: send what was echoed, and close."""
        if self._state is State.WAITING:
            self._reason = self._closed_by_client()
        self._close()

    def writeConnectionLost(self) -> None:
        """The whole echo and our FIN are with the kernel: from now on it is the linger that counts."""
        if self._state is State.LINGERING:
            # Not reset(): Twisted moves a call to an earlier time in O(n) of all pending calls.
            self._timer.cancel()
            self._timer = self._clock.callLater(self._exchange.linger, self._close_in_order)

    # IPushProducer, for the transport: what it does not get rid of, we stop taking in

    def pauseProducing(self) -> None:
        """The client does not read: read no more from it."""
        self._paused = True
        self._tcp.pauseProducing()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._paused = False
        self._tcp.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is gone; `connectionLost` follows."""

    # For the server that stops

    def drain(self) -> None:
        """Take no record after the one under way. A keep-alive connection between two records ends soon."""
        self._last_record = True
        if self._state is State.WAITING and self._between_records:
            self._timer.cancel()
            self._timer = self._clock.callLater(self._exchange.quiet, self._quiet)

    def cut(self) -> None:
        """End the connection now, whatever it is doing."""
        self._abort(CloseReason.CUT)

    # The steps

    def _echo(self, records: bytes) -> None:
        self.records += len(records) // self._exchange.record_size
        self.bytes_sent += len(records)
        self._tcp.write(records)

    def _shut_sending_side(self, reason: CloseReason) -> None:
        self._reason = reason
        self._state = State.LINGERING
        self._stop_pausing()
        self._tcp.loseWriteConnection()

    def _close(self) -> None:
        """Close when all that was echoed has been sent; the timer goes on."""
        self._state = State.CLOSING
        self._stop_pausing()
        self._tcp.loseConnection()

    def _abort(self, reason: CloseReason) -> None:
        self._reason = reason
        self._state = State.CLOSING
        self._tcp.abortConnection()

    def _stop_pausing(self) -> None:
        # A transport with a registered and paused producer never closes.
        if self._pausable:
            self._tcp.unregisterProducer()
        if self._paused:
            self.resumeProducing()

    @property
    def _pausable(self) -> bool:
        return self._exchange.keep_alive or self.pausing

    @property
    def _between_records(self) -> bool:
        return self.records > 0 and not self._buffer.pending

    def _quiet(self) -> None:
        # A record that has begun meanwhile, and an echo that is not taken, have their time, or what the drain leaves.
        self._timer = self._clock.callLater(self._exchange.timeout, self._deadline_passed)
        if self._state is State.WAITING and self._between_records:
            self._shut_sending_side(CloseReason.DRAINED)

    def _join_the_fin(self) -> None:
        """Have the FIN go out in the last echo's own segment: who has the echo then knows that it was the last."""
        wire = getattr(self.transport, "getHandle", lambda: None)()
        if isinstance(wire, socket.socket) and wire.family in (socket.AF_INET, socket.AF_INET6):
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, True)

    def _deadline_passed(self) -> None:
        """The record is not complete, or its echo not taken, within the time."""
        if self._paused or self._state is not State.WAITING:
            self._abort(CloseReason.STALLED)
            return
        self._reason = CloseReason.IDLE if self._between_records else CloseReason.TIMEOUT
        self._close_in_order()

    def _close_in_order(self) -> None:
        """Close; abort only where that does not come to an end.

        What the kernel still has to deliver, it goes on delivering after a close.
        """
        self._timer = self._clock.callLater(self._exchange.linger, self._deadline_passed)
        self._close()

    def _reason_of(self, lost: Failure) -> CloseReason:
        """Return how the connection ended, where the transport says `lost`."""
        if lost.check(ConnectionDone, ConnectionAborted):
            return self._reason or self._closed_by_client()
        return CloseReason.RESET if lost.check(ConnectionLost) else CloseReason.ERROR

    def _closed_by_client(self) -> CloseReason:
        if self._buffer.pending:
            return CloseReason.INCOMPLETE
        return CloseReason.ECHOED if self.records else CloseReason.NO_DATA
