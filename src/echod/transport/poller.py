"""A poller within the reactor: one turn of the reactor serves all connections that are ready."""

import select
import socket
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from sys import exc_info
from typing import Any, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IListeningPort,
    IProtocolFactory,
    IReactorFDSet,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.transport.port import FastPort

__all__ = ["Poller"]

LULL = 0.004
"""Seconds. Events that follow each other within less are waited for here, without a turn of the reactor in between."""

TURN = 0.002
"""Seconds after which the reactor has its turn, for its timers and all that is not this poller's."""

_FAILURES: dict[type[BaseException], Failure] = {
    type(each): Failure(each) for each in (CONNECTION_DONE, CONNECTION_LOST)
}
"""Of the normal ends, made once. By class: an exception of a protocol's own need not be hashable."""


@implementer(IReactorFDSet, IReadDescriptor)
class Poller:
    """Stands in for the reactor where TCP listeners are made, and for their connections.

    It has an epoll of its own, whose descriptor is readable when one of its own is. Of that descriptor the reactor
    is told as long as there is anything to wait for. All else that is asked of it is the reactor's.
    """

    _batch = 256
    """The most events to take from the kernel at once."""

    def __init__(self, reactor: Any) -> None:
        """`reactor` is any that provides IReactorFDSet and what its users want of it; its clock counts seconds."""
        self._reactor = reactor
        self._seconds = reactor.seconds
        self._lively_until = 0.0
        """Until when an event counts as following those before it."""
        self._epoll: select.epoll | None = None
        self._descriptors: dict[int, Any] = {}
        self._events: dict[int, int] = {}
        """What each descriptor waits for."""
        self._forgotten: set[int] = set()
        """Descriptors that were let go of since the last events were taken; some may be others' by now."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    # IReactorTCP, IReactorSSL, IReactorSocket: listeners

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> FastPort:
        """Listen, as `IReactorTCP.listenTCP` says. Raises CannotListenError."""
        return _listening(FastPort(port, factory, backlog, interface, self))

    def listenSSL(
        self, port: Any, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> FastPort:
        """Listen, as `IReactorSSL.listenSSL` says. Raises CannotListenError."""
        listening = self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)
        listening._type = "TLS"  # for the log
        return listening

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        """Listen, as `IReactorSocket.adoptStreamPort` says; for Unix sockets the reactor does. Raises OSError."""
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            return cast("IListeningPort", self._reactor.adoptStreamPort(fileDescriptor, addressFamily, factory))
        return _listening(FastPort._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory))

    # IReactorFDSet

    def addReader(self, reader: IReadDescriptor) -> None:
        """Wait for `reader` to have something to read."""
        self._add(reader, EPOLLIN)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """Wait for `writer` to have room."""
        self._add(writer, EPOLLOUT)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Wait no more for `reader` to have something to read."""
        self._remove(reader, EPOLLIN)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Wait no more for `writer` to have room."""
        self._remove(writer, EPOLLOUT)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """Wait for nothing of this poller's any more; return what was waited for."""
        removed = list(self._descriptors.values())
        for fd in list(self._descriptors):
            self._unregister(fd)
        return removed

    def getReaders(self) -> list[IReadDescriptor]:
        """Return those of this poller that are waited for to have something to read."""
        return self._waiting_for(EPOLLIN)

    def getWriters(self) -> list[IWriteDescriptor]:
        """Return those of this poller that are waited for to have room."""
        return self._waiting_for(EPOLLOUT)

    def forget(self, fd: int) -> None:
        """Wait for nothing of `fd`, which is about to be closed; the kernel then forgets it by itself (epoll(7))."""
        if self._descriptors.pop(fd, None) is None:
            return
        del self._events[fd]
        self._forgotten.add(fd)
        if not self._descriptors:
            self._close()

    def _close(self) -> None:
        assert self._epoll is not None
        self._reactor.removeReader(self)
        self._epoll.close()
        self._epoll = None

    def _waiting_for(self, event: int) -> list[Any]:
        return [self._descriptors[fd] for fd, events in self._events.items() if events & event]

    def _add(self, descriptor: Any, event: int) -> None:
        fd = descriptor.fileno()
        before = self._events.get(fd, 0)
        after = before | event
        if before == after:
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        if before:
            self._epoll.modify(fd, after)
        else:
            self._epoll.register(fd, after)
            self._descriptors[fd] = descriptor
        self._events[fd] = after

    def _remove(self, descriptor: Any, event: int) -> None:
        fd = descriptor.fileno()
        before = self._events.get(fd, 0)
        after = before & ~event
        if before == after:
            return
        if after:
            assert self._epoll is not None
            self._epoll.modify(fd, after)
            self._events[fd] = after
        else:
            self._unregister(fd)

    def _unregister(self, fd: int) -> None:
        assert self._epoll is not None
        self._epoll.unregister(fd)
        self.forget(fd)

    # IReadDescriptor: what the reactor is told of

    def fileno(self) -> int:
        """Return the epoll's descriptor; -1 where there is none."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """Return nothing in particular: each connection logs under its own."""
        return "-"

    def connectionLost(self, reason: Failure) -> None:
        """Tell all there is that it is over: the reactor ends."""
        for each in self.removeAll():
            log.callWithLogger(each, each.connectionLost, reason)

    def doRead(self) -> None:
        """Serve whatever is ready.

        An error that is raised within one descriptor is logged, and ends that one alone.
        """
        began = self._seconds()
        wait = LULL if began < self._lively_until else 0
        ready = self._poll(0)
        while ready:
            self._serve_all(ready)
            if not 0 <= self._seconds() - began < TURN:  # below 0 where somebody's clock is no monotonic one
                break
            ready = self._poll(wait)
        self._lively_until = self._seconds() + LULL if ready or not wait else 0.0

    def _poll(self, timeout: float) -> list[tuple[int, int]]:
        return [] if self._epoll is None else self._epoll.poll(timeout, self._batch)

    def _serve_all(self, ready: list[tuple[int, int]]) -> None:
        descriptors = self._descriptors
        forgotten = self._forgotten
        forgotten.clear()
        for fd, event in ready:
            descriptor = None if fd in forgotten else descriptors.get(fd)
            if descriptor is None:  # one before it in the batch ended it
                continue
            if event == EPOLLIN:
                try:
                    why = descriptor.doRead()
                except BaseException:  # as Twisted: it is this descriptor's
                    why = _raised(descriptor)
                if why is not None:
                    self._end(descriptor, why, in_reading=True)
            else:
                self._serve(fd, descriptor, event)

    def _serve(self, fd: int, descriptor: Any, event: int) -> None:
        """Do what `event` asks for, in Twisted's order."""
        why: BaseException | None = None
        in_reading = False
        try:
            if event & (EPOLLHUP | EPOLLERR) and not event & EPOLLIN:
                in_reading = bool(self._events[fd] & EPOLLIN)
                why = CONNECTION_DONE if in_reading else CONNECTION_LOST
            else:
                if event & EPOLLIN:
                    in_reading = True
                    why = descriptor.doRead()
                if event & EPOLLOUT and why is None:
                    in_reading = False
                    why = descriptor.doWrite()
        except BaseException:
            why = _raised(descriptor)
        if why is not None:
            self._end(descriptor, why, in_reading=in_reading)

    def _end(self, descriptor: Any, why: BaseException, *, in_reading: bool) -> None:
        """End a connection, or the half that the peer has closed."""
        failure = _FAILURES.get(type(why)) or Failure(why)
        half_closed = in_reading and isinstance(why, ConnectionDone) and IHalfCloseableDescriptor.providedBy(descriptor)
        try:
            if half_closed:
                # As a rule it closes the connection, and then there is nothing to remove.
                descriptor.readConnectionLost(failure)
                self.removeReader(descriptor)
            else:
                descriptor.connectionLost(failure)
        except BaseException:
            _raised(descriptor)


def _raised(descriptor: Any) -> BaseException:
    """Log the exception that is being handled, under its descriptor's name; return it."""
    problem = exc_info()[1]
    assert problem is not None
    log.callWithLogger(descriptor, log.err)
    return problem


def _listening(port: FastPort) -> FastPort:
    port.startListening()
    return port
