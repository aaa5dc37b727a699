"""The protocol of one TCP connection: it reports events to the exchange and carries out its actions.

The exchange (`echod.server.exchange`) decides which actions follow an event. They are carried out in this way:

- The echo is followed by a lingering close. The kernel answers a close with unread input by a reset, and a reset can
  overtake the echo (RFC 1122 section 4.2.2.13). So the sending side is closed, further input is read and discarded, and
  the connection is closed when the client closes or the linger ends.
- With keep-alive the protocol is the transport's producer: while the client does not read, nothing more is read from
  it, so memory is bounded.
- A deadline is armed from accept until the connection ends, so no client holds a connection for longer than its
  deadlines.
"""

import socket
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from typing import Protocol as Interface

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.common.addresses import HostPort
from echod.server.config import ExchangeRules
from echod.server.deadlines import Deadlines, Slot
from echod.server.exchange import ECHO_AND_WAIT, Exchange
from echod.server.exchange_states import Action, Event
from echod.server.summary import TLSFacts, TLSFailure

__all__ = ["ConnectionOwner", "EchoProtocol"]

_IN_ORDER = (ConnectionDone, ConnectionAborted)
"""The reasons that a transport gives for an end in order: a close by the client or the server, the server's abort."""

# A member of an Enum costs 0.1 µs to look up (measured, CPython 3.11), and these stand in the path of every connection.
_WRITE, _WRITE_LAST = Action.WRITE, Action.WRITE_LAST
_FLUSHED, _END = Event.FLUSHED, Event.END


class IEchoTransport(ITCPTransport, IConsumer, IPushProducer):
    """The interface that an `EchoProtocol` needs of its transport."""


class ConnectionOwner(Interface):
    """What an `EchoProtocol` shares with the other connections of its listener."""

    rules: ExchangeRules
    timeout: float
    """The timeout of the rules, in seconds."""
    seconds: Callable[[], float]
    """The clock, in seconds."""
    deadlines: Deadlines
    waits: list[int] | None
    """The counts of record wait times, by `echod.server.summary.WAIT_BOUNDS`; None: they are not counted."""

    def connection_opened(self, connection: "EchoProtocol") -> None:
        """Count a connection as open."""

    def connection_closed(self, connection: "EchoProtocol") -> None:
        """Report a connection that is over."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class EchoProtocol(Exchange, Protocol):
    """The server's side of one connection.

    It is half-closeable, so that a client that sends its record and its FIN together receives the echo.
    """

    # The exchange is a base class, and the attributes have slots, because an idle connection takes 10 % less memory so
    # (bench: idle-memory). `transport` and `connected` are attributes of Twisted's Protocol.
    __slots__ = ("_owner", "_pausable", "connected", "due", "peer", "slot", "transport")

    tls: TLSFacts | None = None
    """The result of the TLS handshake; None without TLS, and until the handshake is complete."""
    tls_failure: TLSFailure | None = None
    """Why the TLS handshake failed."""
    due: float
    """When the deadline passes, by the owner's clock."""
    slot: Slot
    transport: IEchoTransport

    _always_pausable = False
    """Whether the protocol is the transport's producer without keep-alive too."""

    def __init__(self, owner: ConnectionOwner, peer: HostPort) -> None:
        self.peer = peer
        self.slot = None
        self._owner = owner
        self._pausable = False
        """Whether the protocol is registered as the transport's producer."""

    # IProtocol

    def connectionMade(self) -> None:
        """Begin the exchange."""
        owner = self._owner
        rules = owner.rules
        Exchange.__init__(self, rules, owner.waits, owner.seconds())
        # Before any step that may raise, because `connectionLost` removes the connection and disarms its deadline.
        owner.deadlines.arm(self, owner.timeout)
        owner.connection_opened(self)
        if rules.keep_alive:
            # Nagle's algorithm would hold an echo back until the client acknowledges the one before.
            self.transport.setTcpNoDelay(True)
        if rules.keep_alive or self._always_pausable:
            self._pausable = True
            self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Echo the records that `data` completes."""
        owner = self._owner
        now = owner.seconds()
        actions, echo = self.receive(data, now)
        if actions is ECHO_AND_WAIT:
            # Nearly every read of a keep-alive connection: carried out here, to save a look-up for each action.
            self.transport.write(echo)
            self.due = now + owner.timeout
            return
        for action in actions:
            if action is _WRITE:
                self.transport.write(echo)
            elif action is _WRITE_LAST:
                self._write_last(echo)
            else:
                self._STEPS[action](self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the exchange."""
        self._owner.deadlines.disarm(self)
        self.on_end(self._end_event(reason), self._owner.seconds())
        self._owner.connection_closed(self)

    # Deadlines

    def deadline_passed(self) -> None:
        """Report the deadline to the exchange."""
        self._perform(self.on_deadline())

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        """Report the client's FIN to the exchange."""
        self._perform(self.on_fin(self._owner.seconds()))

    def writeConnectionLost(self) -> None:
        """Report to the exchange that the kernel has the echo and the FIN."""
        self._perform(self.take(_FLUSHED))

    # IPushProducer: the transport pauses the protocol while the client does not read

    def pauseProducing(self) -> None:
        """Read no more: the client does not read its echoes."""
        self.paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again: the client reads."""
        self.paused = False
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """No-op: `connectionLost` follows."""

    # Connection, for the server that stops or reloads

    @property
    def counted_as(self) -> str:
        """The address as which the connection counts as open."""
        return self.peer.host

    def drain(self) -> None:
        """Close after the present record. Between two records: after the quiet time."""
        self._perform(self.on_drain())

    def cut(self) -> None:
        """Reset the connection."""
        self._take(Event.CUT)

    # Actions

    def _take(self, event: Event) -> None:
        self._perform(self.take(event))

    def _perform(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            self._STEPS[action](self)

    def _write_last(self, echo: bytes) -> None:
        if self._owner.rules.keep_alive:
            self._send_fin_with_the_next_bytes()
        self.transport.write(echo)

    def _send_fin_with_the_next_bytes(self) -> None:
        """Put the FIN into the last echo's segment: the client then knows from the echo that it was the last one.

        A client that receives the echo before the FIN sends another record, which is discarded. Only Linux has TCP_CORK
        (tcp(7)): on other systems that can happen.
        """
        cork: int | None = getattr(socket, "TCP_CORK", None)
        handle = getattr(self.transport, "getHandle", lambda: None)()
        if cork is None or not isinstance(handle, socket.socket):
            return
        if handle.family in (socket.AF_INET, socket.AF_INET6):
            handle.setsockopt(socket.IPPROTO_TCP, cork, True)

    def _half_close(self) -> None:
        if self._pausable:
            self._stop_pausing()
        self.transport.loseWriteConnection()

    def _close(self) -> None:
        if self._pausable:
            self._stop_pausing()
        self.transport.loseConnection()

    def _abort(self) -> None:
        self.transport.abortConnection()

    def _arm_record(self) -> None:
        self._owner.deadlines.arm(self, self._owner.timeout)

    def _arm_quiet(self) -> None:
        self._owner.deadlines.arm(self, self._owner.rules.quiet)

    def _arm_linger(self) -> None:
        self._owner.deadlines.arm(self, self._owner.rules.linger)

    # Functions and not bound methods, which would be additional objects for each connection. A subclass overrides the
    # whole table.
    _STEPS: ClassVar[Mapping[Action, Callable[[Any], None]]] = {
        Action.HALF_CLOSE: _half_close,
        Action.CLOSE: _close,
        Action.ABORT: _abort,
        Action.ARM_RECORD: _arm_record,
        Action.ARM_QUIET: _arm_quiet,
        Action.ARM_LINGER: _arm_linger,
    }

    def _stop_pausing(self) -> None:
        # A transport with a registered and paused producer never closes.
        self._pausable = False
        self.transport.unregisterProducer()
        if self.paused:
            self.resumeProducing()

    def _end_event(self, lost: Failure) -> Event:
        """Return the event for the reason that the transport gives for the end of the connection."""
        if isinstance(lost.value, _IN_ORDER):
            return _END
        return Event.RESET if isinstance(lost.value, ConnectionLost) else Event.FAULT
