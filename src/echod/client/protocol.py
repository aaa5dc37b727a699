"""The protocol of a client's connection: sends records, and matches the bytes that come back against them."""

from collections.abc import Callable
from typing import NamedTuple, cast
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.client.conclusions import Failing
from echod.client.immediate_transport import ImmediateTransport
from echod.client.matcher import Finding, Matcher
from echod.client.outcomes import KernelFacts, Outcome, Step, TLSSession
from echod.client.record import Record
from echod.common.addresses import host_port

__all__ = ["ProbeFactory", "ProbeProtocol", "ProtocolListener", "Refusal"]


class Refusal(NamedTuple):
    """Why the client refused the server, before any record was sent."""

    outcome: Outcome
    detail: str
    check: str | None = None
    """The check of the server's certificate that failed."""


class ProtocolListener(Interface):
    """Receives the events of an established connection."""

    def found(self, finding: Finding, at: float) -> None:
        """Receive the verdict on a record, reached by bytes that were read at the time `at`."""

    def lost(self, reason: Failure) -> None:
        """The connection has ended."""


class _NullListener:
    """The listener before `ready` has fired."""

    def found(self, finding: Finding, at: float) -> None:
        """No-op: no record was sent yet."""

    def lost(self, reason: Failure) -> None:
        """No-op: `ready` fails."""


@implementer(IHalfCloseableProtocol)
class ProbeProtocol(Protocol):
    """Sends records, and receives their echoes in any number of pieces.

    `ready` fires when records may be sent, and fails with the transport's reason if the connection ends before. The
    protocol is half-closeable, so that TCP_INFO can be read when the peer has closed the connection.
    """

    step = Step.ECHO
    """The step that the connection is in."""
    connected_at: float | None = None
    secured_at: float | None = None
    refusal: Refusal | None = None
    tls: TLSSession | None = None
    _fin_received = False

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is `Clocks.now`."""
        self._now = now
        self.matcher = Matcher()
        self.listener: ProtocolListener = _NullListener()
        self.ready: Deferred[None] = Deferred()

    @property
    def _tcp(self) -> ITCPTransport:
        return cast("ITCPTransport", self.transport)

    @property
    def _immediate_transport(self) -> ImmediateTransport:
        return cast("ImmediateTransport", self.transport)

    def makeConnection(self, transport: object) -> None:
        """Put an `ImmediateTransport` in front of the transport."""
        super().makeConnection(ImmediateTransport(transport))  # type: ignore[no-untyped-call]  # Twisted's has no annotations

    def connectionMade(self) -> None:
        """TCP has connected."""
        # With Nagle's algorithm, the last segment of a record would wait for an acknowledgement of the one before.
        self._tcp.setTcpNoDelay(True)
        self.connected_at = self._now()
        self.peer, self.host = host_port(self._tcp.getPeer()), host_port(self._tcp.getHost())
        self._tcp_connected()

    def dataReceived(self, data: bytes) -> None:
        """Match what the peer sent against the records that are out."""
        read_at = self._now()
        for finding in self.matcher.feed(data, read_at):
            self.listener.found(finding, read_at)

    def readConnectionLost(self) -> None:
        """The peer has sent FIN, and will send nothing more: end the connection, with unsent data if there is any."""
        self._fin_received = not self._immediate_transport.broken
        if self.matcher.waiting or self._immediate_transport.broken:
            self._tcp.abortConnection()
        else:
            self._tcp.loseConnection()

    def writeConnectionLost(self) -> None:
        """No-op: this side is never shut down alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report the end of the connection."""
        if self._fin_received:
            reason = connectionDone
        if not self.ready.called:
            self.ready.errback(reason)
        self.listener.lost(reason)

    def send(self, record: Record) -> float | None:
        """Send `record`; return the time. None, and nothing is sent, if bytes received before are its verdict."""
        for finding in self.matcher.expect(record):
            self.listener.found(finding, self._now())
            return None
        sent_at = self._now()
        self.transport.write(record.data)  # type: ignore[union-attr]  # connected; this runs once a record of load
        return sent_at

    def close(self) -> None:
        """Close in order."""
        self._tcp.loseConnection()

    def abort(self) -> None:
        """Close at once, with a reset."""
        self._tcp.abortConnection()

    def kernel_facts(self) -> KernelFacts | None:
        """Return TCP_INFO of the connection; after it was closed at this end, as it was then."""
        return self._immediate_transport.kernel_facts()

    def ended_by(self, reason: Failure, progress: str, received: int) -> Failing:
        """Return the failing that is the end of the established connection for the transport's `reason`.

        `progress` is a phrase such as "after 9 of 250 bytes"; `received` is the number of bytes in it.
        """
        if reason.check(ConnectionDone):
            return Failing(Outcome.CLOSED_EARLY, f"closed by the peer {progress}")
        return Failing(Outcome.RESET, f"connection reset {progress}")

    def closed_in_order(self, reason: Failure) -> bool:
        """Say whether `reason` means that the peer closed the connection in order."""
        return reason.check(ConnectionDone) is not None

    def _tcp_connected(self) -> None:
        self.ready.callback(None)


class ProbeFactory(Factory):
    """Makes the protocols for the attempts of one connection."""

    noisy = False

    def __init__(self, build: Callable[[], ProbeProtocol]) -> None:
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> ProbeProtocol:
        """Make one."""
        return self._build()
