"""The client's side of one connection: a record out, and every byte of it back."""

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from echod.core.outcomes import Outcome, Step
from echod.core.records import first_difference

__all__ = ["ProbeFactory", "ProbeProtocol", "Refusal"]

Refusal = tuple[Outcome, str]
"""What the client will not go on for, and what more there is to say of it."""


class ProbeProtocol(Protocol):
    """Sends one record and receives, in as many pieces as it takes, until all of it is back.

    It closes by itself when the record is back, and when something else came back instead;
    `lost` fails with the transport's reason when the connection is over.
    """

    step = Step.ECHO
    """Where it is."""
    connected_at: float | None = None
    secured_at: float | None = None
    sent_at: float | None = None
    complete_at: float | None = None
    received = 0
    """Bytes that came back."""
    difference: int | None = None
    """The offset of the first byte that is not what was sent."""
    refusal: Refusal | None = None
    """What the client broke off for."""

    def __init__(self, payload: bytes, now: Callable[[], float]) -> None:
        self._payload = payload
        self._now = now
        self.lost: Deferred[None] = Deferred()

    @property
    def _tcp(self) -> ITCPTransport:
        return cast("ITCPTransport", self.transport)

    def connectionMade(self) -> None:
        """Send the record."""
        # A record of more than one segment would wait for an acknowledgement before its last one.
        self._tcp.setTcpNoDelay(True)
        self.connected_at = self._now()
        self._begin()

    def dataReceived(self, data: bytes) -> None:
        """Hold what comes back against what was sent."""
        if self.complete_at is not None or self.difference is not None:
            return
        arrived = self._now()
        offset = self.received
        self.received += len(data)
        difference = first_difference(self._payload[offset : self.received], data)
        if difference is not None:
            self.difference = offset + difference
            self._tcp.abortConnection()
        elif self.received == len(self._payload):
            self.complete_at = arrived
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that it is over."""
        self.lost.errback(reason)

    def abort(self) -> None:
        """Give up on the echo."""
        self._tcp.abortConnection()

    def ended_by(self, reason: Failure) -> Refusal:
        """Return what the transport's `reason` amounts to, for an echo that never was complete."""
        size = len(self._payload)
        if reason.check(ConnectionDone):
            return Outcome.CLOSED_EARLY, f"closed by the peer after {self.received} of {size} bytes"
        return Outcome.RESET, f"connection reset after {self.received} of {size} bytes"

    def _begin(self) -> None:
        self._send()

    def _send(self) -> None:
        self.sent_at = self._now()
        self._tcp.write(self._payload)

    def _close(self) -> None:
        self._tcp.loseConnection()


class ProbeFactory(Factory):
    """Makes the protocol of one probe."""

    noisy = False

    def __init__(self, build: Callable[[], ProbeProtocol]) -> None:
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> ProbeProtocol:
        """Make it."""
        return self._build()
