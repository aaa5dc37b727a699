"""Connections behind a proxy: the PROXY protocol's header is received first, and names the client.

One protocol reads the header and is then replaced by the connection's own protocol at the transport. So nothing stands
between the two afterwards, and half-close, pauses and aborts work as without a proxy. (A wrapping protocol hides
half-close: Twisted's own `haproxy:` endpoint lost 70 % of the records of keep-alive clients that send and half-close;
measured with Twisted 26.10.)
"""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.common.addresses import HostPort, host_port
from echod.server.factory import EchoFactory, ServerContext
from echod.server.proxy_header import MalformedHeader, ProxyHeaderReader
from echod.server.summary import CloseReason

__all__ = ["ProxiedFactory"]

HEADER_TIMEOUT = 3.0
"""Seconds for the header: section 2 of the specification advises at least 3, to cover a retransmission."""


class ProxiedFactory(Factory):
    """Reads the PROXY header of each connection; then another factory makes the protocol for the client's address."""

    noisy = False

    def __init__(self, context: ServerContext, echo: EchoFactory, next_factory: IProtocolFactory) -> None:
        """`echo` reports connections that end before their exchange; `next_factory` is `echo`, or TLS around it."""
        self._context = context
        self._echo = echo
        self._next = next_factory

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make the protocol that reads the header. None: the connection is refused, because too many are open."""
        proxy = host_port(addr)
        refusal = self._context.admission.full()
        if refusal is not None:
            self._echo.report_unserved(proxy, refusal)
            return None
        return HeaderProtocol(self._context, self._echo, self._next, proxy)


@implementer(IHalfCloseableProtocol)
class HeaderProtocol(Protocol):
    """Reads the PROXY header, then hands the transport to the protocol of the client's connection."""

    _reason = CloseReason.BAD_PROXY_HEADER
    _counted = False

    def __init__(
        self, context: ServerContext, echo: EchoFactory, next_factory: IProtocolFactory, proxy: HostPort
    ) -> None:
        self._context = context
        self._echo = echo
        self._next = next_factory
        self._proxy = proxy
        self._reader = ProxyHeaderReader()
        self._received = 0

    @property
    def _tcp(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        """Count the connection, and start the header's deadline."""
        context = self._context
        self._started = context.clock.seconds()
        self._timer = context.clock.callLater(min(HEADER_TIMEOUT, context.rules.timeout), self._abort)
        self._counted = True
        context.admission.enter("")
        context.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Read the header; hand over once it is complete."""
        self._received += len(data)
        try:
            header = self._reader.feed(data)
        except MalformedHeader:
            self._abort()
            return
        if header is not None:
            self._stop_counting()
            self._hand_over(header.client or self._proxy, header.rest)
            self._context.connections.discard(self)

    def readConnectionLost(self) -> None:
        """End the connection: the FIN was received before the header was complete."""
        if not self._received:
            self._reason = CloseReason.NO_DATA
        self._abort()

    def writeConnectionLost(self) -> None:
        """Never called: the sending side is not closed alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report a connection that ended before its exchange."""
        self._stop_counting()
        duration = self._context.clock.seconds() - self._started
        self._echo.report_unserved(self._proxy, self._reason, self._received, duration)
        self._context.connections.discard(self)

    # Connection

    def drain(self) -> None:
        """No-op: the header has its own deadline, and the connection that follows it is drained when it opens."""

    def cut(self) -> None:
        """Reset the connection."""
        self._reason = CloseReason.CUT
        self._abort()

    def _abort(self) -> None:
        self._tcp.abortConnection()

    def _stop_counting(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        if self._counted:
            self._counted = False
            self._context.admission.leave("")

    def _hand_over(self, client: HostPort, rest: bytes) -> None:
        address = IPv6Address if ":" in client.host else IPv4Address
        connection = self._next.buildProtocol(address("TCP", client.host, client.port))
        transport = self._tcp
        if connection is None:
            transport.protocol = _Refused()
            transport.abortConnection()
            return
        transport.protocol = connection
        connection.makeConnection(transport)
        if rest:
            connection.dataReceived(rest)


class _Refused(Protocol):
    """The protocol of a refused connection, until its transport has ended."""
