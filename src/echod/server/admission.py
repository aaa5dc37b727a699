"""Admission: which clients may connect, by the access list and by the connection limits."""

from collections import Counter
from collections.abc import Iterable
from typing import Self

from echod.common.addresses import parse_address, parse_network
from echod.server.config import ServerConfiguration
from echod.server.summary import CloseReason

__all__ = ["AccessList", "Admission"]


class AccessList:
    """The networks whose clients may connect. An empty list admits every client."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Raises ValueError for text that is not a network."""
        self._networks = tuple(map(parse_network, networks))

    def allows(self, host: str) -> bool:
        """Return whether a client at `host`, an address in the form of `display_host`, may connect.

        A client of a Unix socket has no address: the mode of the socket's file admits or refuses it.
        """
        if not self._networks or not host:
            return True
        address = parse_address(host.partition("%")[0])
        return address is not None and any(
            address in network for network in self._networks if network.version == address.version
        )


class Admission:
    """Admits or refuses each connection, and counts the open ones by client address.

    `enter` counts an admitted connection, `leave` its end.
    """

    def __init__(self, access: AccessList, limit: int | None, limit_per_host: int | None) -> None:
        """The limits are numbers of open connections; None: no limit."""
        self._access = access
        self._limit = limit
        self._limit_per_host = limit_per_host
        self._open = 0
        self._open_by_host: Counter[str] = Counter()

    @classmethod
    def from_configuration(cls, configuration: ServerConfiguration, limit: int | None) -> Self:
        """Return the admission of a configuration; `limit` is the number of connections that may be open."""
        return cls(AccessList(configuration.allow), limit, configuration.max_connections_per_host)

    def refusal(self, host: str) -> CloseReason | None:
        """Return why a client at `host` (in the form of `display_host`) is refused; None: it is admitted."""
        if not self._access.allows(host):
            return CloseReason.NOT_ALLOWED
        if self._limit_per_host is not None and host and self._open_by_host[host] >= self._limit_per_host:
            return CloseReason.TOO_MANY_FROM_HOST
        return self.full()

    def full(self) -> CloseReason | None:
        """Return why every client is refused at present; None: connections are admitted."""
        return CloseReason.TOO_MANY if self._limit is not None and self._open >= self._limit else None

    def enter(self, host: str) -> None:
        """Count a connection from `host` as open."""
        self._open += 1
        if self._limit_per_host is not None:
            self._open_by_host[host] += 1

    def leave(self, host: str) -> None:
        """Count a connection from `host` as closed."""
        self._open -= 1
        if self._limit_per_host is not None:
            self._open_by_host[host] -= 1
            if not self._open_by_host[host]:
                del self._open_by_host[host]
