"""Who is let in: the access list and the limits."""

from collections import Counter
from collections.abc import Iterable

from echod.common.addresses import parse_address, parse_network
from echod.server.summary import CloseReason

__all__ = ["AccessList", "Admission"]


class AccessList:
    """The networks that may connect. None given means that everyone may."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(map(parse_network, networks))

    def allows(self, host: str) -> bool:
        """Return whether `host`, an address as `display_host` returns it, may connect.

        What has no address, a client on a Unix socket, is kept out by that socket's mode, not here.
        """
        if not self._networks or not host:
            return True
        address = parse_address(host.partition("%")[0])
        return address is not None and any(
            address in each for each in self._networks if each.version == address.version
        )


class Admission:
    """Decides on each connection, by the list of networks and by how many are open.

    It counts what is open itself: `enter` when a connection is let in, `leave` when it is over.
    """

    def __init__(self, access: AccessList, most: int | None, most_per_host: int | None) -> None:
        """`most` and `most_per_host` are numbers of connections; None is no limit."""
        self._access = access
        self._most = most
        self._most_per_host = most_per_host
        self._open = 0
        self._hosts: Counter[str] = Counter()

    def refusal(self, host: str) -> CloseReason | None:
        """Return why a client at `host` (as `display_host` returns it) is not let in, or None."""
        if not self._access.allows(host):
            return CloseReason.NOT_ALLOWED
        if self._most_per_host is not None and host and self._hosts[host] >= self._most_per_host:
            return CloseReason.TOO_MANY_FROM_HOST
        return self.crowded()

    def crowded(self) -> CloseReason | None:
        """Return why no client at all is let in, or None."""
        return CloseReason.TOO_MANY if self._most is not None and self._open >= self._most else None

    def enter(self, host: str) -> None:
        """Count a connection from `host` in."""
        self._open += 1
        if self._most_per_host is not None:
            self._hosts[host] += 1

    def leave(self, host: str) -> None:
        """Count a connection from `host` out."""
        self._open -= 1
        if self._most_per_host is not None:
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]
