"""Listening TCP ports of the fast transport."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.tcp import Port
from twisted.python import log

from echod.transport.accept_queue import queue_length
from echod.transport.connection import FastConnection

if TYPE_CHECKING:
    from echod.transport.poller import Poller

__all__ = ["FastPort"]

ALERT = 64
"""Number of batches of events, after an accept, in which the poller looks at the accept queues between the events. A
server of long connections does not pay for it."""


class FastPort(Port):
    """A listening port whose connections are `FastConnection`s."""

    reactor: "Poller"
    transport = FastConnection  # type: ignore[assignment]  # Twisted accepts any callable with these arguments
    numberAccepts = 0
    """Number of accepts in one call of doRead; 0: the number of connections that wait, up to `most_accepts`."""
    on_full: Callable[[], None] = staticmethod(lambda: None)
    """Called if the accept queue is full when the port accepts: the kernel drops further handshakes."""

    def startListening(self) -> None:
        """Listen. Raises CannotListenError."""
        super().startListening()
        self.numberAccepts = 0  # Twisted begins with 100

    def doRead(self) -> None:
        """Accept the connections that wait.

        Reading their number takes a tenth of the time of an accept that finds the queue empty (docs/performance.md).
        """
        for _ in range(self.numberAccepts or self._waiting()):
            if self.disconnecting:  # the protocol of an accepted connection stopped the port
                return
            try:
                # socket.socket.accept wraps this call and takes twice the time.
                descriptor, client = self.socket._accept()  # type: ignore[union-attr]  # not in typeshed
            except BlockingIOError:
                return
            except OSError:
                self._fail_to_accept()
                return
            self._serve(socket.SocketType(self.addressFamily, self.socketType, 0, descriptor), client)

    def _waiting(self) -> int:
        """Return the number of connections to accept; 1 if the system does not report how many wait."""
        length = queue_length(self.socket)
        if length is None:
            return 1
        waiting, limit = length
        if waiting:
            self.reactor.alert = ALERT
        if waiting > limit:
            self.on_full()
        return min(waiting, self.reactor.most_accepts)

    def _fail_to_accept(self) -> None:
        """Let Twisted's accept meet the same error, handle it and log it."""
        self.numberAccepts = 1
        super().doRead()
        self.numberAccepts = 0

    def _serve(self, sock: socket.SocketType, client: tuple[Any, ...]) -> None:
        """Create the connection of an accepted socket, or close it. Exceptions of factory and protocol are logged."""
        try:
            if len(client) == 4 and client[3]:  # noqa: PLR2004 - an IPv6 address with a scope
                host, _ = socket.getnameinfo(client, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
                client = (host, *client[1:])
            assert self.factory is not None
            protocol = self.factory.buildProtocol(self._buildAddr(client))
        except BaseException:  # as Twisted: the error affects this client only
            log.callWithLogger(self, log.err)
            protocol = None
        if protocol is None:
            sock.close()
            return
        number = self.sessionno
        self.sessionno = number + 1
        connection = self.transport(sock, protocol, client, self, number, self.reactor)  # type: ignore[arg-type]  # socket.socket is a subclass of SocketType
        connection.begin()
