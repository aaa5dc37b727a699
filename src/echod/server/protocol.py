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
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from typing import Any, cast
from typing import Protocol as Shape

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.common.addresses import HostPort
from echod.server.config import ExchangeRules
from echod.server.deadlines import Deadlines, Place
from echod.server.observer import WAIT_BOUNDS
from echod.server.record_buffer import RecordBuffer
from echod.server.summary import CloseReason, TLSFacts, TLSFailure

__all__ = ["ConnectionKeeper", "EchoProtocol"]


class IEchoTransport(ITCPTransport, IConsumer, IPushProducer):
    """What a connection needs of its transport: half-close, abort, and to be paused both ways."""


class State(Enum):
    """Where a connection is; the module's table says what each state does."""

    WAITING = auto()
    LINGERING = auto()
    CLOSING = auto()


_IN_ORDER = (ConnectionDone, ConnectionAborted)
"""How a transport says that a connection ended as somebody wanted: the peer's close, ours, or our abort."""

# Looking a member up in its Enum takes 0.1 µs, and an echo takes five.
WAITING, LINGERING, CLOSING = State


class ConnectionKeeper(Shape):
    """Knows which connections are open: an `EchoProtocol` reports to one."""

    @property
    def waits(self) -> list[int] | None:
        """Where to count how long each record took to come, as `WAIT_BOUNDS` says; None: nobody wants to know."""

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
    started: float
    """When it was accepted, by the clock that was passed in."""
    tls: TLSFacts | None = None
    """What its TLS handshake came to."""
    tls_failure: TLSFailure | None = None
    """Why it came to nothing."""
    due: float
    place: Place = None

    _reason: CloseReason | None = None
    _paused = False
    _waited: float | None = None
    """What `waited` is, once the deadline no longer tells."""

    def __init__(
        self,
        peer: HostPort,
        exchange: ExchangeRules,
        clock: IReactorTime,
        deadlines: Deadlines,
        keeper: ConnectionKeeper,
    ) -> None:
        self.peer = peer
        self._exchange = exchange
        self._clock = clock
        self._deadlines = deadlines
        self._keeper = keeper
        self._last_record = not exchange.keep_alive
        self._state = WAITING
        self._begun: RecordBuffer | None = None
        """Holds what has come of a record, once one has come in pieces."""
        self.bytes_received = 0
        self.bytes_sent = 0
        """Of whole records only."""

    @property
    def records(self) -> int:
        """Records echoed; 0 in a stream, which has none."""
        return 0 if self._exchange.stream else self.bytes_sent // self._exchange.record_size

    @property
    def waited(self) -> float:
        """Seconds that its records took to come, in all, where that is counted.

        It is the time from accept to the last record: to where the present deadline counts from, as long as that is
        a record's.
        """
        if self._waited is not None:
            return self._waited
        if self._keeper.waits is None or not self.bytes_sent:
            return 0.0
        return self.due - self._exchange.timeout - self.started

    # IProtocol

    def connectionMade(self) -> None:
        """Start the record's deadline."""
        self._tcp = cast("IEchoTransport", self.transport)
        self.started = self._clock.seconds()
        self._within(self._exchange.timeout, EchoProtocol._deadline_passed)
        if self._exchange.keep_alive:
            # Nagle's algorithm would hold an echo back until the client acknowledges the one before.
            self._tcp.setTcpNoDelay(True)
        if self._pausable:
            self._tcp.registerProducer(self, True)
        self._keeper.connection_began(self)

    def dataReceived(self, data: bytes) -> None:
        """Gather `data`, and echo what it completes."""
        length = len(data)
        self.bytes_received += length
        if self._state is not WAITING:
            return
        if self._begun is not None or length % self._exchange.record_size:
            data = self._gather(data)
            length = len(data)
            if not length:
                return
        if self._last_record:
            self._echo_the_last(data[: self._exchange.record_size])
        else:
            self.bytes_sent += length
            self._tcp.write(data)
            due = self._clock.seconds() + self._exchange.timeout
            waits = self._keeper.waits
            if waits is not None:
                # Of records that come together the first alone is counted. The others waited for nothing, and how
                # many they are follows from the bytes: who reads the counts sees to that.
                waits[bisect_left(WAIT_BOUNDS, due - self.due)] += 1
            self.due = due

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Disarm the deadline and tell how it went."""
        self._deadlines.disarm(self)
        ended = self._reason_of(reason)
        self._state = CLOSING
        self._keeper.connection_ended(self, ended)

    # Due

    def deadline_passed(self) -> None:
        """Take the step that was to be taken now."""
        self._step(self)

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        """Take the client's FIN: send what was echoed, and close."""
        if self._state is WAITING:
            self._reason = self._closed_by_client()
        self._close()

    def writeConnectionLost(self) -> None:
        """The whole echo and our FIN are with the kernel: from now on it is the linger that counts."""
        if self._state is LINGERING:
            self._within(self._exchange.linger, EchoProtocol._close_in_order)

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
        """Take no record after the one under way. A keep-alive connection between two records ends soon.

        In a stream nobody knows what is under way: it ends when for a moment no bytes have come.
        """
        if self._exchange.stream:
            self._exchange = replace(self._exchange, timeout=self._exchange.quiet)
        else:
            self._last_record = True
        if self._state is WAITING and self._at_rest:
            self._waited = self.waited
            self._within(self._exchange.quiet, EchoProtocol._quiet)

    def cut(self) -> None:
        """End the connection now, whatever it is doing."""
        self._abort(CloseReason.CUT)

    # The steps

    def _within(self, seconds: float, step: Callable[[Any], None]) -> None:
        """Take `step` in `seconds`, in place of the one that was to be taken."""
        # A function and not a method of this connection: that would be an object more for each.
        self._step = step
        self._deadlines.arm(self, seconds)

    def _gather(self, data: bytes) -> bytes:
        """Return the whole records that `data` completes, if any."""
        if self._begun is None:
            self._begun = RecordBuffer(self._exchange.record_size)
        return self._begun.feed(data)

    def _echo_the_last(self, record: bytes) -> None:
        waits = self._keeper.waits
        if waits is not None:
            waited = self._clock.seconds() - self.started
            waits[bisect_left(WAIT_BOUNDS, waited - self.waited)] += 1
            self._waited = waited
        if self._exchange.keep_alive:
            self._join_the_fin()
        self.bytes_sent += len(record)
        self._tcp.write(record)
        self._shut_sending_side(CloseReason.ECHOED)

    def _shut_sending_side(self, reason: CloseReason) -> None:
        self._reason = reason
        self._state = LINGERING
        self._stop_pausing()
        self._tcp.loseWriteConnection()

    def _close(self) -> None:
        """Close when all that was echoed has been sent; the timer goes on."""
        self._state = CLOSING
        self._stop_pausing()
        self._tcp.loseConnection()

    def _abort(self, reason: CloseReason) -> None:
        self._reason = reason
        self._state = CLOSING
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
        return self.bytes_sent > 0 and not self._pending

    @property
    def _at_rest(self) -> bool:
        """Whether nothing is known to be under way. Of a stream nothing ever is."""
        return self._exchange.stream or self._between_records

    @property
    def _pending(self) -> int:
        """Bytes that have come of a record that is not complete."""
        return 0 if self._begun is None else self._begun.pending

    def _quiet(self) -> None:
        # A record that has begun meanwhile, and an echo that is not taken, have their time, or what the drain leaves.
        self._within(self._exchange.timeout, EchoProtocol._deadline_passed)
        if self._state is WAITING and self._at_rest:
            self._shut_sending_side(CloseReason.DRAINED)

    def _join_the_fin(self) -> None:
        """Have the FIN go out in the last echo's own segment: who has the echo then knows that it was the last."""
        wire = getattr(self.transport, "getHandle", lambda: None)()
        if isinstance(wire, socket.socket) and wire.family in (socket.AF_INET, socket.AF_INET6):
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, True)

    def _deadline_passed(self) -> None:
        """The record is not complete, or its echo not taken, within the time."""
        if self._paused or self._state is not WAITING:
            self._abort(CloseReason.STALLED)
            return
        self._reason = CloseReason.IDLE if self._between_records else CloseReason.TIMEOUT
        self._close_in_order()

    def _close_in_order(self) -> None:
        """Close; abort only where that does not come to an end.

        What the kernel still has to deliver, it goes on delivering after a close.
        """
        self._waited = self.waited
        self._within(self._exchange.linger, EchoProtocol._deadline_passed)
        self._close()

    def _reason_of(self, lost: Failure) -> CloseReason:
        """Return how the connection ended, where the transport says `lost`."""
        if isinstance(lost.value, _IN_ORDER):
            return self._reason or self._closed_by_client()
        return CloseReason.RESET if isinstance(lost.value, ConnectionLost) else CloseReason.ERROR

    def _closed_by_client(self) -> CloseReason:
        if self._pending:
            return CloseReason.INCOMPLETE
        return CloseReason.ECHOED if self.bytes_sent else CloseReason.NO_DATA
