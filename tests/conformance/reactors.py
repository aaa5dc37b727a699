"""The reactors under test in Twisted's own tests."""

import socket
from typing import Any

from twisted.internet.epollreactor import EPollReactor

from echod.transport.poller import Poller

__all__ = ["FastReactor", "PollingReactor"]


class FastReactor(EPollReactor):
    """Twisted's epoll reactor with the TCP listeners of the fast transport."""

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
    """Twisted's epoll reactor, whose descriptors except its internal ones are registered with a poller."""

    def __init__(self) -> None:
        self._poller_inside = Poller(self)
        super().__init__()

    def addReader(self, reader: Any) -> None:
        if reader is self._poller_inside or reader in self._internalReaders:
            super().addReader(reader)
        else:
            self._poller_inside.addReader(reader)

    def addWriter(self, writer: Any) -> None:
        self._poller_inside.addWriter(writer)

    def removeReader(self, reader: Any) -> None:
        if reader in self._poller_inside.getReaders():
            self._poller_inside.removeReader(reader)
        else:
            super().removeReader(reader)

    def removeWriter(self, writer: Any) -> None:
        self._poller_inside.removeWriter(writer)

    def removeAll(self) -> list[Any]:
        return [*self._poller_inside.removeAll(), *super().removeAll()]

    def getReaders(self) -> list[Any]:
        return self._poller_inside.getReaders()

    def getWriters(self) -> list[Any]:
        return self._poller_inside.getWriters()
