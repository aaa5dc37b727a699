"""The reactors that Twisted's own tests are run against."""

import socket
from typing import Any

from twisted.internet.epollreactor import EPollReactor

from echod.transport.poller import Poller

__all__ = ["FastReactor", "PollingReactor"]


class FastReactor(EPollReactor):
    """Twisted's reactor, whose TCP listeners are the fast transport's."""

    def __init__(self) -> None:
        super().__init__()
        self._fast = Poller(self)

    def listenTCP(self, *arguments: Any, **named: Any) -> Any:
        return self._fast.listenTCP(*arguments, **named)

    def listenSSL(self, *arguments: Any, **named: Any) -> Any:
        return self._fast.listenSSL(*arguments, **named)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        if addressFamily in (socket.AF_INET, socket.AF_INET6):
            return self._fast.adoptStreamPort(fileDescriptor, addressFamily, factory)
        return super().adoptStreamPort(fileDescriptor, addressFamily, factory)

    def getReaders(self) -> list[Any]:
        return [*super().getReaders(), *self._fast.getReaders()]

    def getWriters(self) -> list[Any]:
        return [*super().getWriters(), *self._fast.getWriters()]


class PollingReactor(EPollReactor):
    """Twisted's reactor, all of whose descriptors, but for its own, are the poller's."""

    def __init__(self) -> None:
        self._within = Poller(self)
        super().__init__()

    def addReader(self, reader: Any) -> None:
        if reader is self._within or reader in self._internalReaders:
            super().addReader(reader)
        else:
            self._within.addReader(reader)

    def addWriter(self, writer: Any) -> None:
        self._within.addWriter(writer)

    def removeReader(self, reader: Any) -> None:
        if reader in self._within.getReaders():
            self._within.removeReader(reader)
        else:
            super().removeReader(reader)

    def removeWriter(self, writer: Any) -> None:
        self._within.removeWriter(writer)

    def removeAll(self) -> list[Any]:
        return [*self._within.removeAll(), *super().removeAll()]

    def getReaders(self) -> list[Any]:
        return self._within.getReaders()

    def getWriters(self) -> list[Any]:
        return self._within.getWriters()
