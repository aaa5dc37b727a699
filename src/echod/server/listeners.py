"""Where connections come from: the dual-stack socket, and endpoints given as strings."""

import errno
import socket
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorSocket,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from zope.interface import implementer

from echod.common.addresses import HostPort
from echod.common.errors import ConfigurationError

__all__ = ["DualStackEndpoint", "endpoint_from_string"]

ANY_IPV6 = "::"
ANY_IPV4 = "0.0.0.0"  # noqa: S104 - a server's default is to serve every interface


class SocketMaker(Protocol):
    """`socket.create_server`, or what stands in for it."""

    def __call__(
        self, address: tuple[str, int], *, family: int, backlog: int, reuse_port: bool, dualstack_ipv6: bool
    ) -> socket.socket:
        """Return a bound and listening socket; raise OSError."""


@implementer(IStreamServerEndpoint)
class DualStackEndpoint:
    """Listens on one TCP socket; on `::` it takes IPv6 and IPv4 alike.

    Twisted leaves IPV6_V6ONLY to the system's `net.ipv6.bindv6only`, so the socket is made
    here, with that option off, and adopted. Where the host knows no IPv6 at all, `::` means
    0.0.0.0, and the log says so.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorSocket,
        interface: str,
        port: int,
        backlog: int,
        *,
        reuse_port: bool = False,
        create_server: SocketMaker = socket.create_server,
    ) -> None:
        self._reactor = reactor
        self._interface = interface
        self._port = port
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._create_server = create_server

    def __str__(self) -> str:
        return str(HostPort(self._interface, self._port))

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """Listen. The Deferred has fired already: with the port, or with an OSError."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        with self._bound() as bound:
            bound.setblocking(False)
            # adoptStreamPort duplicates the descriptor; ours is closed on the way out.
            return self._reactor.adoptStreamPort(bound.fileno(), bound.family, cast("ServerFactory[Any]", factory))

    def _bound(self) -> socket.socket:
        try:
            return self._create(self._interface)
        except OSError as problem:
            if self._interface != ANY_IPV6 or problem.errno != errno.EAFNOSUPPORT:
                raise
        self._log.warn(
            "this host has no IPv6: listening on {address}, IPv4 only", address=HostPort(ANY_IPV4, self._port)
        )
        return self._create(ANY_IPV4)

    def _create(self, interface: str) -> socket.socket:
        family, _, _, _, address = socket.getaddrinfo(
            interface, self._port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        return self._create_server(
            address,  # type: ignore[arg-type]  # create_server takes scoped addresses too; typeshed knows pairs only
            family=family,
            backlog=self._backlog,
            reuse_port=self._reuse_port,
            dualstack_ipv6=interface == ANY_IPV6,
        )


def endpoint_from_string(reactor: object, description: str) -> IStreamServerEndpoint:
    """Return the endpoint that a Twisted endpoint string means.

    Raises ConfigurationError for one that Twisted cannot read. `haproxy:` and `systemd:`, which say more
    than where to listen, are `assembly`'s to look at.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except Exception as problem:  # Twisted and its endpoint plugins raise all kinds
        hint = " (a colon in an address is written \\:)" if "::" in description else ""
        raise ConfigurationError(f"{description!r} is no server endpoint: {problem}{hint}") from None
    return endpoint
