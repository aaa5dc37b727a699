"""A poller inside the reactor: one call from the reactor serves all ready connections."""

import select
import socket
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from sys import exc_info
from typing import Any, cast

from twisted.internet.error import ConnectionDone, ConnectionFdescWentAway
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IListeningPort,
    IProtocolFactory,
    IReactorFDSet,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Connection, Port
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.transport.connection import FastConnection
from echod.transport.port import FastPort

__all__ = ["Poller"]

LULL = 0.004
"""Seconds. While events follow each other at shorter intervals, the poller waits for them itself, without returning to
the reactor."""

TURN = 0.002
"""Seconds after which the poller returns to the reactor, for timers and other descriptors."""

SLICE = 4
"""Number of events after which the poller looks at the accept queues again, within a batch of more than two slices.
The default queue holds eleven connections, which a client on the same host establishes in a few hundred microseconds.
"""

CROWD = 64
"""Number of ready descriptors up to which connections are accepted between them. If more are ready, the processor is
not fast enough: further connections stay in the queue, or more would be accepted than served."""

_FAILURES: dict[type[BaseException], Failure] = {
    type(reason): Failure(reason) for reason in (CONNECTION_DONE, CONNECTION_LOST)
}
"""Failures of the two normal reasons. The key is the class: an exception of a protocol need not be hashable."""


@implementer(IReactorFDSet, IReadDescriptor)
class Poller:
    """A reactor proxy that creates TCP listeners and serves their connections.

    It has an epoll, which it adds to the reactor as one readable descriptor while any descriptor is registered.
    Attributes that it does not define are the reactor's.
    """

    _batch = 256
    """Maximum number of events of one epoll_wait."""
    most_accepts = 64
    """Maximum number of accepts of a port at a time; open connections are served in between."""

    def __init__(self, reactor: Any) -> None:
        """`reactor` provides IReactorFDSet and the interfaces of its users; its clock counts seconds."""
        self._reactor = reactor
        self._seconds = reactor.seconds
        self._lively_until = 0.0
        """The time until which an event counts as following the ones before."""
        self._epoll: select.epoll | None = None
        self._connections: dict[int, Any] = {}
        """Registered TCP connections and ports, of Twisted's classes or their subclasses: they unregister themselves
        before they close."""
        self._others: dict[int, Any] = {}
        """All other registered descriptors, whose fileno is compared with the registered number at each event."""
        self._events: dict[int, int] = {}
        """The events that each registered descriptor waits for."""
        self._ports: set[int] = set()
        """The ports among them, which wait for connections; `_port_poll` has the same descriptors."""
        self._port_poll = select.poll()
        self.alert = 0
        """Number of batches for which the poller looks at the accept queues between events; the ports set it."""
        self._unregistered: set[int] = set()
        """Numbers unregistered since the last epoll_wait, which a new descriptor may have by now."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    # IReactorTCP, IReactorSSL, IReactorSocket: listeners

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> FastPort:
        """Listen, as specified by `IReactorTCP.listenTCP`. Raises CannotListenError."""
        return _listening(FastPort(port, factory, backlog, interface, self))

    def listenSSL(
        self, port: Any, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> FastPort:
        """Listen, as specified by `IReactorSSL.listenSSL`. Raises CannotListenError."""
        listening = self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)
        listening._type = "TLS"  # for the log
        return listening

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        """Listen, as specified by `IReactorSocket.adoptStreamPort`. Raises OSError.

        Only TCP ports are the poller's; the reactor adopts those of other families.
        """
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            return cast("IListeningPort", self._reactor.adoptStreamPort(fileDescriptor, addressFamily, factory))
        return _listening(FastPort._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory))

    # IReactorFDSet

    def addReader(self, reader: IReadDescriptor) -> None:
        """Wait until `reader` is readable."""
        self._add(reader, EPOLLIN)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """Wait until `writer` is writable."""
        self._add(writer, EPOLLOUT)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Stop waiting until `reader` is readable."""
        self._remove(reader, EPOLLIN)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Stop waiting until `writer` is writable."""
        self._remove(writer, EPOLLOUT)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """Unregister all descriptors of the poller, and return them."""
        removed = [self._descriptor(fd) for fd in self._events]
        for fd in list(self._events):
            self.unregister(fd)
        return removed

    def getReaders(self) -> list[IReadDescriptor]:
        """Return the descriptors that wait to be readable."""
        return self._waiting_for(EPOLLIN)

    def getWriters(self) -> list[IWriteDescriptor]:
        """Return the descriptors that wait to be writable."""
        return self._waiting_for(EPOLLOUT)

    # Registration

    def register(self, fd: int, connection: FastConnection) -> None:
        """Wait until a new connection, whose descriptor is `fd`, is readable."""
        if fd in self._events:  # of a descriptor that was closed without being removed
            self._lose(fd)
        if self._epoll is None:
            self._open()
        self._epoll.register(fd, EPOLLIN)  # type: ignore[union-attr]  # opened above
        self._connections[fd] = connection
        self._events[fd] = EPOLLIN

    def unregister(self, fd: int) -> None:
        """Stop waiting for `fd`; no-op if it is not registered. To be called before the descriptor is closed.

        epoll(7): a closed descriptor remains registered while another descriptor of the same open file description is
        open. A child process that inherited the socket has one.
        """
        if self._events.pop(fd, None) is None:
            return
        if self._connections.pop(fd, None) is None:
            del self._others[fd]
        if fd in self._ports:
            self._ports.remove(fd)
            self._port_poll.unregister(fd)
        self._unregistered.add(fd)
        if not self._events:
            self._close()
            return
        try:
            self._epoll.unregister(fd)  # type: ignore[union-attr]  # open while any descriptor is registered
        except OSError:  # it was closed first: EBADF, or ENOENT if its number is in use again
            self._replace_epoll()

    def _open(self) -> None:
        self._epoll = select.epoll()
        self._reactor.addReader(self)

    def _close(self) -> None:
        assert self._epoll is not None
        self._reactor.removeReader(self)
        self._epoll.close()
        self._epoll = None

    def _replace_epoll(self) -> None:
        """Move all registrations to a new epoll: the old one has a registration that cannot be removed."""
        self._close()
        self._open()
        assert self._epoll is not None
        closed = []
        for fd, events in self._events.items():
            try:
                self._epoll.register(fd, events)
            except OSError:
                closed.append(fd)
        for fd in closed:
            if fd in self._events:  # the end of another may have ended it
                self._lose(fd)

    def _descriptor(self, fd: int) -> Any:
        return self._connections.get(fd) or self._others[fd]

    def _waiting_for(self, event: int) -> list[Any]:
        return [self._descriptor(fd) for fd, events in self._events.items() if events & event]

    def _add(self, descriptor: Any, event: int) -> None:
        fd = descriptor.fileno()
        before = self._events.get(fd, 0)
        if before and self._descriptor(fd) is descriptor:
            self._change(fd, before | event)
            return
        if before:  # of a descriptor that was closed without being removed
            self._lose(fd)
        if self._epoll is None:
            self._open()
        self._epoll.register(fd, event)  # type: ignore[union-attr]  # opened above
        table = self._connections if isinstance(descriptor, Connection | Port) else self._others
        table[fd] = descriptor
        self._events[fd] = event
        if isinstance(descriptor, FastPort):
            self._ports.add(fd)
            self._port_poll.register(fd, select.POLLIN)

    def _remove(self, descriptor: Any, event: int) -> None:
        fd = descriptor.fileno()
        if fd < 0:  # closed; a connection is no longer registered then
            fd = next((number for number, other in self._others.items() if other is descriptor), -1)
        before = self._events.get(fd, 0)
        if before:
            self._change(fd, before & ~event)

    def _change(self, fd: int, events: int) -> None:
        """Wait for `events` of the registered descriptor `fd`."""
        if not events:
            self.unregister(fd)
        elif events != self._events[fd]:
            self._epoll.modify(fd, events)  # type: ignore[union-attr]  # open while any descriptor is registered
            self._events[fd] = events

    # IReadDescriptor: the poller as a descriptor of the reactor

    def fileno(self) -> int:
        """Return the epoll's descriptor, or -1 if no descriptor is registered."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """Return "-": each connection logs under its own name."""
        return "-"

    def connectionLost(self, reason: Failure) -> None:
        """End all connections and ports: the reactor shuts down."""
        for descriptor in self.removeAll():
            log.callWithLogger(descriptor, descriptor.connectionLost, reason)

    def doRead(self) -> None:
        """Serve the ready descriptors.

        An exception of one descriptor is logged and ends that descriptor only.
        """
        began = self._seconds()
        wait = LULL if began < self._lively_until else 0
        ready = self._poll(0)
        while ready:
            self._serve_all(ready)
            if not 0 <= self._seconds() - began < TURN:  # negative if the reactor's clock is not monotonic
                break
            ready = self._poll(wait)
        self._lively_until = self._seconds() + LULL if ready or not wait else 0.0

    def _poll(self, timeout: float) -> list[tuple[int, int]]:
        return [] if self._epoll is None else self._epoll.poll(timeout, self._batch)

    def _serve_all(self, ready: list[tuple[int, int]]) -> None:
        self._unregistered.clear()
        if not self.alert:
            self._serve_events(ready)
            return
        self.alert -= 1
        if not 2 * SLICE < len(ready) <= CROWD:
            self._serve_events(ready)
            return
        for start in range(0, len(ready), SLICE):
            self._accept()
            self._serve_events(ready[start : start + SLICE])

    def _serve_events(self, ready: list[tuple[int, int]]) -> None:
        connections = self._connections
        unregistered = self._unregistered
        for fd, event in ready:
            if fd in unregistered:  # an earlier event of the batch ended it
                continue
            descriptor = connections.get(fd)
            if descriptor is None:
                self._serve_other(fd, event)
            elif event == EPOLLIN:
                try:
                    why = descriptor.doRead()
                except BaseException:  # as Twisted: the error affects this descriptor only
                    why = _log_exception(descriptor)
                if why is not None:
                    self._end(fd, descriptor, why, in_reading=True)
            else:
                self._serve(fd, descriptor, event)

    def _accept(self) -> None:
        """Accept the connections that wait at any port."""
        for fd, _ in self._port_poll.poll(0):
            if fd in self._ports:  # an earlier one may have ended it
                self._serve(fd, self._connections[fd], EPOLLIN)

    def _serve_other(self, fd: int, event: int) -> None:
        """Serve another descriptor than a connection: it may have been closed without being removed."""
        descriptor = self._others.get(fd)
        if descriptor is None:
            self._replace_epoll()
            return
        try:
            valid = descriptor.fileno() == fd
        except BaseException:
            _log_exception(descriptor)
            valid = False
        if valid:
            self._serve(fd, descriptor, event)
        else:
            self._lose(fd)

    def _lose(self, fd: int) -> None:
        """Unregister and end a descriptor that was closed without being removed."""
        descriptor = self._descriptor(fd)
        self.unregister(fd)
        try:
            descriptor.connectionLost(Failure(ConnectionFdescWentAway("File descriptor lost")))
        except BaseException:
            _log_exception(descriptor)

    def _serve(self, fd: int, descriptor: Any, event: int) -> None:
        """Serve `event` in Twisted's order: disconnection, read, write."""
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
            why = _log_exception(descriptor)
        if why is not None:
            self._end(fd, descriptor, why, in_reading=in_reading)

    def _end(self, fd: int, descriptor: Any, why: BaseException, *, in_reading: bool) -> None:
        """End a connection, or its receiving side if the peer has half-closed it."""
        failure = _FAILURES.get(type(why)) or Failure(why)
        try:
            if (
                in_reading
                and isinstance(why, ConnectionDone)
                and (fd in self._connections or IHalfCloseableDescriptor.providedBy(descriptor))  # connections do
            ):
                descriptor.readConnectionLost(failure)
                # Usually this has closed the connection, and a change of the epoll before it would be wasted.
                if (self._connections.get(fd) or self._others.get(fd)) is descriptor:
                    self._change(fd, self._events[fd] & ~EPOLLIN)
            else:
                descriptor.connectionLost(failure)
        except BaseException:
            _log_exception(descriptor)


def _log_exception(descriptor: Any) -> BaseException:
    """Log the exception being handled under the descriptor's name, and return it."""
    problem = exc_info()[1]
    assert problem is not None
    log.callWithLogger(descriptor, log.err)
    return problem


def _listening(port: FastPort) -> FastPort:
    port.startListening()
    return port
