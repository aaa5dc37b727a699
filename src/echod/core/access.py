"""Who may connect: a list of networks."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from echod.core.addresses import literal

__all__ = ["AccessList", "network"]


def network(text: str) -> IPv4Network | IPv6Network:
    """Return the network that `text` means: `192.0.2.0/24`, `2001:db8::/32`, or one address.

    An IPv4-mapped IPv6 network is the IPv4 network that it maps. Raises ValueError.
    """
    parsed = ip_network(text)
    mapped = parsed.network_address.ipv4_mapped if isinstance(parsed, IPv6Network) else None
    if mapped is None:
        return parsed
    if parsed.prefixlen < 96:  # noqa: PLR2004 - ::ffff:0:0/96 is where the mapped addresses are
        raise ValueError(f"{text} is more than the IPv4-mapped addresses")
    return IPv4Network((mapped, parsed.prefixlen - 96))


class AccessList:
    """The networks that may connect. None given means that everyone may."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(map(network, networks))

    def allows(self, host: str) -> bool:
        """Return whether `host`, an address as `shown_host` returns it, may connect.

        What has no address, a client on a Unix socket, is kept out by that socket's mode, not here.
        """
        if not self._networks or not host:
            return True
        address = literal(host.partition("%")[0])
        return address is not None and any(
            address in each for each in self._networks if each.version == address.version
        )
