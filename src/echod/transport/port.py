"""Listening TCP ports of the fast transport."""

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.tcp import Port
from twisted.python import log

from echod.transport.connection import FastConnection

if TYPE_CHECKING:
    from echod.transport.poller import Poller

__all__ = ["FastPort"]

MOST_ACCEPTS = 64
"""Maximum number of accepts in one call of doRead; open connections are served between the calls."""

FULL_TIMES = 4
"""Number of calls of doRead that use all their accepts before `numberAccepts` is doubled."""


class FastPort(Port):
    """A listening port whose connections are `FastConnection`s."""

    reactor: "Poller"
    transport = FastConnection  # type: ignore[assignment]  # Twisted accepts any callable with these arguments
    numberAccepts = 1
    _times_full = 0

    def startListening(self) -> None:
        """Listen. Raises CannotListenError."""
        super().startListening()
        self.numberAccepts = 1  # Twisted begins with 100

    def doRead(self) -> None:
        """Accept up to `numberAccepts` connections.

        An accept that finds the queue empty takes a third of the time of one that returns a connection
        (docs/performance.md), so the number of accepts follows the recent number of connections.
        """
        for accepted in range(self.numberAccepts):
            if self.disconnecting:  # the protocol of an accepted connection stopped the port
                return
            try:
                # socket.socket.accept wraps this call and takes twice the time.
                descriptor, client = self.socket._accept()  # type: ignore[union-attr]  # not in typeshed
            except BlockingIOError:
                self.numberAccepts = max(1, accepted)
                self._times_full = 0
                return
            except OSError:
                super().doRead()  # Twisted's accept meets the same error, handles it and logs it
                return
            self._serve(socket.SocketType(self.addressFamily, self.socketType, 0, descriptor), client)
        self._times_full += 1
        if self._times_full == FULL_TIMES:
            self._times_full = 0
            self.numberAccepts = min(2 * self.numberAccepts, MOST_ACCEPTS)

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
