"""The fast transport within this process's reactor, and protocols that note what they are told."""

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
    """Let the reactor turn until `condition()` is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        await deferLater(reactor, 0.001)


@implementer(IHalfCloseableProtocol)
class Told(Protocol):
    """Notes what it is told, and sends back what it receives. Half-closeable."""

    transport: Any

    def __init__(self) -> None:
        self.told: list[str] = []
        self.received = b""
        self.lost: Failure | None = None

    def connectionMade(self) -> None:
        self.told.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        self.told.append("read lost")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        self.told.append("write lost")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append("lost")
        self.lost = reason


class Makes(Factory):
    """Makes protocols by a function of the client's address; keeps them."""

    noisy = False

    def __init__(self, make: Callable[[IAddress | None], Protocol | None]) -> None:
        self._make = make
        self.made: list[Any] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        made = self._make(addr)
        if made is not None:
            self.made.append(made)
        return made


class Listening:
    """A port of the fast transport."""

    def __init__(self, make: Callable[[IAddress | None], Protocol | None], poller: Poller) -> None:
        self.factory = Makes(make)
        self.poller = poller
        self.port: FastPort = self.poller.listenTCP(0, self.factory, interface="127.0.0.1")

    @property
    def number(self) -> int:
        number: int = self.port.getHost().port
        return number

    @property
    def made(self) -> list[Any]:
        return self.factory.made


@asynccontextmanager
async def listening(
    make: Callable[[IAddress | None], Protocol | None], poller: Poller | None = None
) -> AsyncIterator[Listening]:
    """Listen while the block runs, by a poller of its own if by no other; end afterwards what is still open."""
    here = Listening(make, poller or Poller(reactor))
    try:
        yield here
    finally:
        for each in here.made:
            if each.transport is not None:
                each.transport.abortConnection()
        await maybeDeferred(here.port.stopListening)
        await until(lambda: not here.poller.getReaders() and not here.poller.getWriters())
