"""Listening sockets: the dual-stack endpoint, and endpoints from Twisted's endpoint strings."""

import contextlib
import errno
import socket
from collections.abc import Callable
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

__all__ = ["INHERITED", "DualStackEndpoint", "check_endpoint", "endpoint_from_string"]

INHERITED = "systemd:"
"""Begins the endpoint string of a socket that the process inherits, and that stays open when the process closes it."""

ANY_IPV6 = "::"
ANY_IPV4 = "0.0.0.0"  # noqa: S104 - a server's default is to serve every interface


_WITH_BACKLOG = frozenset({"tcp", "tcp6", "ssl", "tls", "unix"})
"""Twisted's kinds of endpoints that have a backlog."""


class SocketMaker(Protocol):
    """The signature of `socket.create_server`, with the parameters that are used."""

    def __call__(
        self, address: tuple[str, int], *, family: int, backlog: int, reuse_port: bool, dualstack_ipv6: bool
    ) -> socket.socket:
        """Return a bound and listening socket. Raises OSError."""


def try_ipv6() -> None:
    """Create a dual-stack socket and close it. Raises OSError; EAFNOSUPPORT: the host has no IPv6."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


@implementer(IStreamServerEndpoint)
class DualStackEndpoint:
    """Listens on one TCP socket; on `::` it accepts IPv6 and IPv4 clients.

    Twisted leaves IPV6_V6ONLY to the system's `net.ipv6.bindv6only`. So the socket is created here, with that option
    off, and adopted. On a host without IPv6, `::` means 0.0.0.0, and a log line says so.
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
        try_ipv6: Callable[[], None] = try_ipv6,
    ) -> None:
        """`try_ipv6` raises the OSError for which the host has no dual-stack socket."""
        self._reactor = reactor
        self._interface = interface
        self._port = port
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._create_server = create_server
        self._try_ipv6 = try_ipv6

    def __str__(self) -> str:
        return str(HostPort(self._interface, self._port))

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        """Listen; return a Deferred that has fired already, with the port or with an OSError."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        with self._bound() as bound:
            bound.setblocking(False)
            # adoptStreamPort duplicates the descriptor; this one is closed at the end of the block.
            return self._reactor.adoptStreamPort(bound.fileno(), bound.family, cast("ServerFactory[Any]", factory))

    def _bound(self) -> socket.socket:
        try:
            return self._create(self._interface)
        except ValueError:  # create_server's only error for a dual-stack socket that the system refuses
            try:
                self._try_ipv6()
            except OSError as problem:
                if problem.errno != errno.EAFNOSUPPORT:
                    raise
            else:
                raise
        self._log.warn(
            "this host has no IPv6: listening on {address}, for IPv4 only", address=HostPort(ANY_IPV4, self._port)
        )
        return self._create(ANY_IPV4)

    def _create(self, interface: str) -> socket.socket:
        family, _, _, _, address = socket.getaddrinfo(
            interface, self._port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        return self._create_server(
            address,  # type: ignore[arg-type]  # create_server accepts scoped addresses too; typeshed lists pairs only
            family=family,
            backlog=self._backlog,
            reuse_port=self._reuse_port,
            dualstack_ipv6=interface == ANY_IPV6,
        )


def endpoint_from_string(reactor: object, description: str, backlog: int | None = None) -> IStreamServerEndpoint:
    """Return the endpoint of a Twisted endpoint string, without the prefix `haproxy:`, which `assembly` handles.

    `backlog` applies if the string has none; None: Twisted's default. Raises ConfigurationError for a string that
    Twisted cannot parse.
    """
    kind, _, rest = description.partition(":")
    endpoint: IStreamServerEndpoint
    try:
        if backlog is not None and kind in _WITH_BACKLOG:
            # Of two keywords Twisted takes the second, so the string's own backlog counts. With a backlog by position
            # the keyword is a TypeError.
            with contextlib.suppress(TypeError):
                endpoint = serverFromString(reactor, f"{kind}:backlog={backlog}:{rest}")
                return endpoint
        endpoint = serverFromString(reactor, description)
    except Exception as problem:  # Twisted and its endpoint plugins raise many types
        hint = " (a colon in an address is written \\:)" if "::" in description else ""
        raise ConfigurationError(f"{description!r} is not a server endpoint: {problem}{hint}") from None
    return endpoint


_SYSTEMD_DOMAINS = ("INET", "INET6", "UNIX")


def check_endpoint(reactor: object, description: str) -> None:
    """Raise ConfigurationError if the string, with or without the prefix `haproxy:`, is not a server endpoint.

    Of a `systemd:` endpoint only the form is checked: only the service's own process has the sockets.
    """
    inner = description.removeprefix("haproxy:")
    if not inner.startswith("systemd:"):
        endpoint_from_string(reactor, inner)
        return
    arguments = dict(word.partition("=")[::2] for word in inner.split(":")[1:])
    if arguments.get("domain") not in _SYSTEMD_DOMAINS or ("name" in arguments) == ("index" in arguments):
        raise ConfigurationError(
            f"{description!r} is not a server endpoint: it needs domain=INET, INET6 or UNIX, and either name= or index="
        )
