"""Connections behind a proxy: the PROXY protocol's header is received first, and names the client.

One protocol reads the header and is then replaced by the connection's own protocol at the transport. So nothing stands
between the two afterwards, and half-close, pauses and aborts work as without a proxy. (A wrapping protocol hides
half-close: Twisted's own `haproxy:` endpoint lost 70 % of the records of keep-alive clients that send and half-close;
measured with Twisted 26.10.)
"""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.common.addresses import HostPort, host_port
from echod.server.factory import EchoFactory, ServerContext
from echod.server.proxy_header import MalformedHeader, ProxyHeaderReader, ProxyInfo
from echod.server.summary import CloseReason

__all__ = ["ProxiedFactory"]

HEADER_TIMEOUT = 3.0
"""Seconds for the header: section 2 of the specification advises at least 3, to cover a retransmission."""

HEADER_GRACE = 0.5
"""Seconds after which a connection without its header counts towards the limit of connections from one address.

A proxy sends the header in its first segment, so few connections wait for one: those whose first segment was lost.
Linux sends it again after 0.2 s, or after three round-trip times if that is more. If they counted from accept, a burst
of clients of one proxy would be refused by a limit that is meant for each of them.
"""


class ProxiedFactory(Factory):
    """Reads the PROXY header of each connection; then another factory makes the protocol for the client's address."""

    noisy = False

    def __init__(
        self, context: ServerContext, echo: EchoFactory, clients: IProtocolFactory, own: IProtocolFactory
    ) -> None:
        """`echo` reports connections that end before their exchange.

        `clients` makes the connections of the clients that the proxy names, and `own` the proxy's own connections.
        """
        self.context = context
        self.echo = echo
        self.clients = clients
        self.own = own

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make the protocol that reads the header. None: the connection is refused."""
        proxy = host_port(addr)
        refusal = self.context.admission.proxy_refusal(proxy.host)
        if refusal is not None:
            self.echo.report_unserved(proxy, refusal)
            return None
        return HeaderProtocol(self, proxy)


@implementer(IHalfCloseableProtocol)
class HeaderProtocol(Protocol):
    """Reads the PROXY header, then hands the transport to the protocol of the client's connection."""

    _reason: CloseReason | None = None
    """Why the connection is being closed; None until that is decided."""
    _counted_as: str | None = None
    """The host as which the connection counts as open; None: it does not count."""

    def __init__(self, factory: ProxiedFactory, proxy: HostPort) -> None:
        """`proxy` is the address that the connection comes from."""
        self._factory = factory
        self._context = factory.context
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
        self._timeout = min(HEADER_TIMEOUT, context.rules.timeout)
        self._timer = context.clock.callLater(min(HEADER_GRACE, self._timeout), self._on_grace_end)
        self._count_as("")
        context.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Read the header; hand over once it is complete."""
        self._received += len(data)
        try:
            header = self._reader.feed(data)
        except MalformedHeader:
            self._end(CloseReason.BAD_PROXY_HEADER)
            return
        if header is not None:
            self._stop_counting()
            self._hand_over(header)
            self._context.connections.discard(self)

    def readConnectionLost(self) -> None:
        """End the connection: the FIN was received before the header was complete."""
        self._end(self._reason_of_an_end())

    def writeConnectionLost(self) -> None:
        """Never called: the sending side is not closed alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report a connection that ended before its exchange."""
        self._stop_counting()
        duration = self._context.clock.seconds() - self._started
        close_reason = self._reason or self._reason_of_an_end()
        self._factory.echo.report_unserved(self._proxy, close_reason, self._received, duration)
        self._context.connections.discard(self)

    # Connection

    @property
    def counted_as(self) -> str:
        """The address as which the connection counts as open; empty if it has none."""
        return self._counted_as or ""

    def drain(self) -> None:
        """No-op: the header has its own deadline, and the connection that follows it is drained when it opens."""

    def cut(self) -> None:
        """Reset the connection."""
        self._end(CloseReason.CUT)

    def _reason_of_an_end(self) -> CloseReason:
        """Return the close reason for a FIN or a reset."""
        return CloseReason.BAD_PROXY_HEADER if self._received else CloseReason.HEALTH_CHECK

    def _end(self, reason: CloseReason) -> None:
        self._reason = reason
        self._tcp.abortConnection()

    def _on_grace_end(self) -> None:
        """Wait for one turn of the reactor: after a pause of the process, the header may be there, but not read yet."""
        self._timer = self._context.clock.callLater(0, self._wait_longer)

    def _wait_longer(self) -> None:
        """Count the connection as one from the address that it comes from, or end it if there are too many."""
        clock = self._context.clock
        refusal = self._context.admission.waiting_refusal(self._proxy.host)
        if refusal is not None:
            self._end(refusal)
            return
        self._count_as(self._proxy.host)
        remaining = max(0.0, self._started + self._timeout - clock.seconds())
        self._timer = clock.callLater(remaining, self._end, CloseReason.BAD_PROXY_HEADER)

    def _count_as(self, host: str) -> None:
        admission = self._context.admission
        if self._counted_as is not None:
            admission.leave(self._counted_as)
        self._counted_as = host
        admission.enter(host)

    def _stop_counting(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        if self._counted_as is not None:
            self._context.admission.leave(self._counted_as)
            self._counted_as = None

    def _hand_over(self, header: ProxyInfo) -> None:
        connection = self._protocol_for(header.client)
        transport = self._tcp
        if connection is None:
            transport.protocol = _Refused()
            transport.abortConnection()
            return
        transport.protocol = connection
        connection.makeConnection(transport)
        if header.rest:
            connection.dataReceived(header.rest)

    def _protocol_for(self, client: HostPort | None) -> IProtocol | None:
        """Return the protocol of a client's connection, or of the proxy's own; None: it is refused."""
        if client is None or client == HostPort(self._proxy.host.partition("%")[0], self._proxy.port):
            # HAProxy's checks name their own address in a header of version 1.
            return self._factory.own.buildProtocol(_address(self._proxy))
        return self._factory.clients.buildProtocol(_address(client))


def _address(place: HostPort) -> IAddress:
    address = IPv6Address if ":" in place.host else IPv4Address
    return address("TCP", place.host, place.port)


class _Refused(Protocol):
    """The protocol of a refused connection, until its transport has ended."""
