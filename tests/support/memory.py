"""Memory stand-ins: a transport, an observer, a resolver. Each does what the real one does, without the network."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IProtocol, IResolutionReceiver
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.server.observer import IConnectionObserver
from echod.server.summary import CloseReason, ConnectionSummary
from echod.server.supervisor import ISupervisor


@implementer(IConnectionObserver)
class MemoryObserver:
    """Remembers every connection that ended."""

    def __init__(self) -> None:
        self.summaries: list[ConnectionSummary] = []

    def connection_ended(self, summary: ConnectionSummary) -> None:
        self.summaries.append(summary)

    @property
    def reasons(self) -> list[CloseReason]:
        return [summary.reason for summary in self.summaries]


@implementer(ISupervisor)
class MemorySupervisor:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def ready(self, status: Callable[[], str]) -> None:
        self.told.append(f"ready: {status()}")

    def reloading(self) -> None:
        self.told.append("reloading")

    def stopping(self) -> None:
        self.told.append("stopping")

    def stopped(self) -> None:
        self.told.append("stopped")


class MemoryTransport(StringTransport):
    """A TCP transport that is a string, with the half-close, the pauses and the order of a real one.

    What is written stays in flight until `flush`, unless `flushing` (the default). Like
    Twisted's own, it tells of its end once, does not close while a paused producer is
    registered, and ends at once in `loseConnection` when its sending side was shut before.
    """

    protocol: Any
    """Whose transport it is; may be replaced, as that of a real one."""

    def __init__(self, flushing: bool = True) -> None:
        super().__init__()
        self.flushing = flushing
        self.in_flight = 0
        self.write_shut = False
        self.aborted = False
        self.nodelay = False
        self.over: ConnectionDone | ConnectionLost | ConnectionAborted | None = None
        self._shutting = False
        self._paused_producer = False

    def connect(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.nodelay = enabled

    def write(self, data: bytes) -> None:
        assert not self.write_shut
        super().write(data)
        self.in_flight += len(data)
        if self.flushing:
            self.flush()

    def clog(self) -> None:
        """The buffer is full: the producer is paused."""
        assert self.producer is not None
        self._paused_producer = True
        self.producer.pauseProducing()

    def flush(self) -> None:
        """Everything in flight is out."""
        self.in_flight = 0
        if self._paused_producer and self.producer is not None:
            self._paused_producer = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self._end(ConnectionDone())
        elif self._shutting and not self.write_shut:
            self.write_shut = True
            self.protocol.writeConnectionLost()

    def loseWriteConnection(self) -> None:
        self._shutting = True
        if not self.in_flight:
            self.flush()

    def loseConnection(self) -> None:
        self.disconnecting = True
        if not self.in_flight and not (self._paused_producer and self.producer is not None):
            self._end(ConnectionDone())

    def abortConnection(self) -> None:
        self.aborted = True
        self._end(ConnectionAborted())

    def reset(self) -> None:
        """The peer's RST arrives."""
        self._end(ConnectionLost())

    def receive(self, data: bytes) -> None:
        """Bytes of the peer's arrive."""
        assert self.producerState == "producing", "a paused transport reads nothing"
        self.protocol.dataReceived(data)

    def fin(self) -> None:
        """The peer's FIN arrives."""
        assert self.producerState == "producing", "a paused transport sees no FIN"
        self.protocol.readConnectionLost()

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()

    def _end(self, how: "ConnectionDone | ConnectionLost | ConnectionAborted") -> None:
        if self.over is None:
            self.over = how
            self.protocol.connectionLost(Failure(how))


class ReadingClock(Clock):
    """A clock that also notes who reads, in place of a reactor."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: object) -> None:
        """Nothing writes."""


class ClientTransport(StringTransport):
    """A client's TCP transport that is a string."""

    nodelay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.nodelay = enabled


@implementer(IHostnameResolver)
class MemoryResolver:
    """Resolves to what it was given, when told to; no addresses mean an unknown name."""

    def __init__(self, addresses: Sequence[IAddress] = (), at_once: bool = True) -> None:
        self.addresses = addresses
        self.at_once = at_once
        self.waiting: list[tuple[IResolutionReceiver, tuple[type[IAddress], ...]]] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution = MemoryResolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        self.waiting.append((resolutionReceiver, tuple(addressTypes or (IPv4Address, IPv6Address))))
        if self.at_once:
            self.answer()
        return resolution

    def answer(self) -> None:
        for receiver, types in self.waiting:
            for address in self.addresses:
                if isinstance(address, types):
                    receiver.addressResolved(address)
            receiver.resolutionComplete()
        self.waiting.clear()


@implementer(IHostResolution)
class MemoryResolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        raise DNSLookupError("never cancelled by HostnameEndpoint")
