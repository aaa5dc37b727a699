"""Our side of one connection: records out, and what comes back held against them."""

from collections.abc import Callable
from typing import NamedTuple, cast
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.client.immediate_transport import ImmediateTransport
from echod.client.matcher import Finding, Matcher
from echod.client.outcomes import KernelFacts, Outcome, Step, TLSSession
from echod.client.record import Record
from echod.common.addresses import HostPort, display_host

__all__ = ["Listener", "ProbeFactory", "ProbeProtocol", "Refusal", "peer_of"]


class Refusal(NamedTuple):
    """What the client will not go on for."""

    outcome: Outcome
    detail: str
    check: str | None = None
    """Which check of the server's certificate failed."""


class Listener(Shape):
    """Hears of a connection that was established."""

    def found(self, finding: Finding, at: float) -> None:
        """Take the verdict on a record, given upon what came at the time `at`."""

    def lost(self, reason: Failure) -> None:
        """The connection is over."""


class _Nobody:
    """Hears of nothing: the listener until there is one."""

    def found(self, finding: Finding, at: float) -> None:
        """Nobody has sent anything."""

    def lost(self, reason: Failure) -> None:
        """`ready` tells of it."""


@implementer(IHalfCloseableProtocol)
class ProbeProtocol(Protocol):
    """Sends records, and receives their echoes in as many pieces as it takes.

    `ready` fires when records may be sent, and fails with the transport's reason where the connection is over before.
    It is half-closeable so that the kernel can be asked about a connection that the peer closes.
    """

    step = Step.ECHO
    """Where it is."""
    connected_at: float | None = None
    secured_at: float | None = None
    refusal: Refusal | None = None
    """What the client broke off for, before anything was sent."""
    tls: TLSSession | None = None
    _fin = False

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.matcher = Matcher()
        self.listener: Listener = _Nobody()
        self.ready: Deferred[None] = Deferred()

    @property
    def _tcp(self) -> ITCPTransport:
        return cast("ITCPTransport", self.transport)

    @property
    def _wire(self) -> ImmediateTransport:
        return cast("ImmediateTransport", self.transport)

    def makeConnection(self, transport: object) -> None:
        """Take the transport, as one that sends at once."""
        super().makeConnection(ImmediateTransport(transport))  # type: ignore[no-untyped-call]  # Twisted's has no annotations

    def connectionMade(self) -> None:
        """Begin."""
        # A record of more than one segment would wait for an acknowledgement before its last one.
        self._tcp.setTcpNoDelay(True)
        self.connected_at = self._now()
        self.peer, self.host = peer_of(self._tcp.getPeer()), peer_of(self._tcp.getHost())
        self._begin()

    def dataReceived(self, data: bytes) -> None:
        """Hold what comes back against what was sent."""
        arrived = self._now()
        for finding in self.matcher.feed(data, arrived):
            self.listener.found(finding, arrived)

    def readConnectionLost(self) -> None:
        """The peer will send nothing more: that is the end, also of what is still to be sent."""
        self._fin = not self._wire.broken
        if self.matcher.waiting or self._wire.broken:
            self._tcp.abortConnection()
        else:
            self._tcp.loseConnection()

    def writeConnectionLost(self) -> None:
        """Never: the sending side is not shut alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that it is over."""
        if self._fin:
            reason = connectionDone
        if not self.ready.called:
            self.ready.errback(reason)
        self.listener.lost(reason)

    def send(self, record: Record) -> float | None:
        """Send `record`; return when that was. None where what came unasked was its verdict."""
        for finding in self.matcher.expect(record):
            self.listener.found(finding, self._now())
            return None
        sent_at = self._now()
        self._tcp.write(record.data)
        return sent_at

    def close(self) -> None:
        """Close in order."""
        self._tcp.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self._tcp.abortConnection()

    def ask_kernel(self) -> KernelFacts | None:
        """Return what the kernel knows of the connection, or knew before it was closed here."""
        return self._wire.ask_kernel()

    def ended_by(self, reason: Failure, progress: str, received: int) -> Refusal:
        """Return what the transport's `reason` amounts to, once the connection was established.

        `progress` is how far it was: "after 9 of 250 bytes", of which `received` is the number.
        """
        if reason.check(ConnectionDone):
            return Refusal(Outcome.CLOSED_EARLY, f"closed by the peer {progress}")
        return Refusal(Outcome.RESET, f"connection reset {progress}")

    def closed_in_order(self, reason: Failure) -> bool:
        """Say whether `reason` is that the peer closed the connection as it should."""
        return reason.check(ConnectionDone) is not None

    def _begin(self) -> None:
        self.ready.callback(None)


def peer_of(address: IAddress) -> HostPort:
    """Return one end of a TCP connection."""
    return HostPort(display_host(address.host), address.port)  # type: ignore[attr-defined]  # IAddress declares neither


class ProbeFactory(Factory):
    """Makes the protocols of one connection's attempts."""

    noisy = False

    def __init__(self, build: Callable[[], ProbeProtocol]) -> None:
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> ProbeProtocol:
        """Make one."""
        return self._build()
