"""Fakes in memory: transports, an observer, a supervisor, a clock, a resolver. They behave as the real ones do."""

import threading
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
    """Keeps the summary of every connection that has ended."""

    def __init__(self) -> None:
        self.summaries: list[ConnectionSummary] = []

    def connection_ended(self, summary: ConnectionSummary) -> None:
        self.summaries.append(summary)

    @property
    def reasons(self) -> list[CloseReason]:
        return [summary.reason for summary in self.summaries]


class MemoryDestination:
    """Keeps what a log writes; `results` are those of the next writes, each of them complete after the last one."""

    def __init__(self, largest: int = 1 << 20) -> None:
        self.largest = largest
        self.data = b""
        self.writes: list[bytes] = []
        self.results: list[int | OSError | threading.Event] = []
        """A write takes as many bytes, raises the error, or waits for the event and then takes all."""
        self.closed = False

    def write(self, data: bytes) -> int:
        result = self.results.pop(0) if self.results else len(data)
        if isinstance(result, OSError):
            raise result
        if isinstance(result, threading.Event):
            result.wait(20)
            result = len(data)
        self.writes.append(data[:result])
        self.data += data[:result]
        return result

    def close(self) -> None:
        self.closed = True


@implementer(ISupervisor)
class MemorySupervisor:
    """Keeps the notifications of the daemon's state."""

    def __init__(self) -> None:
        self.notifications: list[str] = []

    def ready(self, status: Callable[[], str]) -> None:
        self.notifications.append(f"ready: {status()}")

    def reloading(self) -> None:
        self.notifications.append("reloading")

    def stopping(self) -> None:
        self.notifications.append("stopping")

    def stopped(self) -> None:
        self.notifications.append("stopped")


class MemoryTransport(StringTransport):
    """A TCP transport in memory, with the half-close, the producer and the order of calls of a real one.

    Written bytes stay in flight until `flush`; if `flushing` (the default), they are flushed at once. Like Twisted's
    TCP transport, it calls `connectionLost` once, does not close while a paused producer is registered, and ends within
    `loseConnection` if no bytes are in flight.
    """

    protocol: Any
    """The protocol of the connection. It can be replaced, as that of a real transport."""

    def __init__(self, flushing: bool = True, host: IAddress | None = None) -> None:
        """`host` is the server's address; None: any."""
        super().__init__(host)
        self.flushing = flushing
        self.in_flight = 0
        """Bytes written and not flushed."""
        self.write_shut = False
        """Whether the sending side is closed."""
        self.aborted = False
        self.nodelay = False
        self.over: ConnectionDone | ConnectionLost | ConnectionAborted | None = None
        """The reason of the connection's end; None: it is open."""
        self._half_closing = False
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

    def fill(self) -> None:
        """Act as if the send buffer were full: pause the producer."""
        assert self.producer is not None
        self._paused_producer = True
        self.producer.pauseProducing()

    def flush(self) -> None:
        """Send the bytes in flight; then do what waited for it: resume the producer, close, or half-close."""
        self.in_flight = 0
        if self._paused_producer and self.producer is not None:
            self._paused_producer = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self._end(ConnectionDone())
        elif self._half_closing and not self.write_shut:
            self.write_shut = True
            self.protocol.writeConnectionLost()

    def loseWriteConnection(self) -> None:
        self._half_closing = True
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
        """Receive the peer's RST."""
        self._end(ConnectionLost())

    def receive(self, data: bytes) -> None:
        """Receive bytes from the peer."""
        assert self.producerState == "producing", "a paused transport reads nothing"
        self.protocol.dataReceived(data)

    def fin(self) -> None:
        """Receive the peer's FIN."""
        assert self.producerState == "producing", "a paused transport sees no FIN"
        self.protocol.readConnectionLost()

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()

    def _end(self, reason: "ConnectionDone | ConnectionLost | ConnectionAborted") -> None:
        if self.over is None:
            self.over = reason
            self.protocol.connectionLost(Failure(reason))


class ReadingClock(Clock):
    """A clock that also keeps the set of readers, in place of a reactor."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: object) -> None:
        """No-op: there are no writers."""


class ClientTransport(StringTransport):
    """A client's TCP transport in memory."""

    nodelay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.nodelay = enabled


@implementer(IHostnameResolver)
class MemoryResolver:
    """Resolves each name to `addresses`, within the call if `at_once`, else in `answer`. No addresses: unknown name."""

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
        """Answer all queries that wait."""
        for receiver, types in self.waiting:
            for address in self.addresses:
                if isinstance(address, types):
                    receiver.addressResolved(address)
            receiver.resolutionComplete()
        self.waiting.clear()


@implementer(IHostResolution)
class MemoryResolution:
    """A query in progress."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        raise DNSLookupError("never cancelled by HostnameEndpoint")
