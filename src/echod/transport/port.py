"""TCP ports that accept as many connections at once as came of late.

They are Twisted's own and keep its contract; what they make of a connection is a `FastConnection`.
"""

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.tcp import Port
from twisted.python import log

from echod.transport.connection import FastConnection

if TYPE_CHECKING:
    from echod.transport.poller import Poller

__all__ = ["FastPort"]

MOST_ACCEPTS = 64
"""Connections to accept before those that are open have their turn."""

FULL_TIMES = 4
"""How often as many connections must have come as were asked for, before twice as many are."""


class FastPort(Port):
    """A listening port whose connections are `FastConnection`s."""

    reactor: "Poller"
    transport = FastConnection  # type: ignore[assignment]  # what may stand here may be any that takes the arguments
    numberAccepts = 1
    _times_full = 0

    def startListening(self) -> None:
        """Listen. Raises CannotListenError."""
        super().startListening()
        self.numberAccepts = 1  # Twisted begins with 100

    def doRead(self) -> None:
        """Accept what waits, up to `numberAccepts` connections.

        One more accept, which finds that nobody waits, takes as long as a third of an accept that finds somebody. So
        as many are asked for as came of late.
        """
        for accepted in range(self.numberAccepts):
            if self.disconnecting:  # a protocol that was accepted just now stopped the listening
                return
            try:
                # What accept() of the socket module wraps, at the price of as much again.
                descriptor, client = self.socket._accept()  # type: ignore[union-attr]  # typeshed has it elsewhere
            except BlockingIOError:
                self.numberAccepts = max(1, accepted)
                self._times_full = 0
                return
            except OSError:
                super().doRead()  # which meets it again, and knows what to do and to log
                return
            self._serve(socket.SocketType(self.addressFamily, self.socketType, 0, descriptor), client)
        self._times_full += 1
        if self._times_full == FULL_TIMES:
            self._times_full = 0
            self.numberAccepts = min(2 * self.numberAccepts, MOST_ACCEPTS)

    def _serve(self, sock: socket.SocketType, client: tuple[Any, ...]) -> None:
        """Make a connection of an accepted socket, or close it. What the factory or the protocol raises is logged."""
        try:
            if len(client) == 4 and client[3]:  # noqa: PLR2004 - a scoped IPv6 address
                host, _ = socket.getnameinfo(client, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
                client = (host, *client[1:])
            assert self.factory is not None
            protocol = self.factory.buildProtocol(self._buildAddr(client))
        except BaseException:  # as Twisted: it is this client's
            log.callWithLogger(self, log.err)
            protocol = None
        if protocol is None:
            sock.close()
            return
        number = self.sessionno
        self.sessionno = number + 1
        connection = self.transport(sock, protocol, client, self, number, self.reactor)  # type: ignore[arg-type]  # socket.socket is a wrapper too
        connection.begin()
