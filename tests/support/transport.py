"""The fast transport in this process's reactor, and protocols that record their calls."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.transport.poller import Poller
from echod.transport.port import FastPort
from tests.support.sockets import PATIENCE

reactor: Any = installed


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor run until `condition()` is true; fail after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition was false until the deadline"
        await deferLater(reactor, 0.001)


@implementer(IHalfCloseableProtocol)
class RecordingEcho(Protocol):
    """Half-closeable echo that records the calls of its transport."""

    transport: Any

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received = b""
        self.reason: Failure | None = None
        """The reason of connectionLost."""

    def connectionMade(self) -> None:
        self.calls.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        self.calls.append("read lost")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        self.calls.append("write lost")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.calls.append("lost")
        self.reason = reason


class RecordingFactory(Factory):
    """Builds protocols with a function of the client's address, and keeps them."""

    noisy = False

    def __init__(self, build: Callable[[IAddress | None], Protocol | None]) -> None:
        self._build = build
        self.protocols: list[Any] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        protocol = self._build(addr)
        if protocol is not None:
            self.protocols.append(protocol)
        return protocol


class Listener:
    """A listening port of the fast transport, with its poller and factory."""

    def __init__(self, build: Callable[[IAddress | None], Protocol | None], poller: Poller, backlog: int) -> None:
        self.factory = RecordingFactory(build)
        self.poller = poller
        self.port: FastPort = self.poller.listenTCP(0, self.factory, backlog, interface="127.0.0.1")

    @property
    def number(self) -> int:
        """The port number."""
        number: int = self.port.getHost().port
        return number

    @property
    def protocols(self) -> list[Any]:
        return self.factory.protocols


@asynccontextmanager
async def listening(
    build: Callable[[IAddress | None], Protocol | None], poller: Poller | None = None, *, backlog: int = 128
) -> AsyncIterator[Listener]:
    """Listen inside the block, on `poller` or on a new one; afterwards abort the connections that are open."""
    listener = Listener(build, poller or Poller(reactor), backlog)
    try:
        yield listener
    finally:
        for protocol in listener.protocols:
            if protocol.transport is not None:
                protocol.transport.abortConnection()
        await maybeDeferred(listener.port.stopListening)
        await until(lambda: not listener.poller.getReaders() and not listener.poller.getWriters())
