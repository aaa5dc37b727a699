"""The route of a probe: its target, the family of addresses, and the source address."""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from echod.common.addresses import HostPort, parse_address
from echod.common.errors import ConfigurationError

__all__ = ["Family", "Route", "family_of"]


class Family(Enum):
    """A family of addresses."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


def family_of(host: str) -> Family | None:
    """Return the family of a literal address; None for a name."""
    address = parse_address(host)
    if address is None:
        return None
    return Family.IPV4 if isinstance(address, IPv4Address) else Family.IPV6


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way to a target. Raises ConfigurationError if the fields contradict each other."""

    target: HostPort
    family: Family | None = None
    """The only family to use; None: that of the source, or both without a source."""
    source: str | None = None
    """The address of this host to connect from, scope id allowed; None: chosen by the kernel."""
    address: HostPort | None = None
    """The one address of the target to connect to; None: any address of its name."""

    def __post_init__(self) -> None:
        destination = family_of((self.address or self.target).host)
        origin = None if self.source is None else family_of(self.source)
        if self.source is not None and origin is None:
            raise ConfigurationError(f"source: {self.source} is not an IPv4 or IPv6 address")
        if self.family is not None and origin is not None and self.family is not origin:
            raise ConfigurationError(f"source: {self.source} is not an {self.family.value} address")
        wanted = self.family or origin
        if destination is not None and wanted is not None and destination is not wanted:
            if self.family is None:
                raise ConfigurationError(f"source: {self.source} cannot reach an {destination.value} address")
            raise ConfigurationError(f"{wanted.value.lower()}: {self.target.host} is an {destination.value} address")

    @property
    def only(self) -> Family | None:
        """The one family that connections may use; None for both."""
        return self.family or (None if self.source is None else family_of(self.source))

    @property
    def literal(self) -> HostPort | None:
        """The one address to connect to; None if a name has to be resolved first."""
        destination = self.address or self.target
        return None if family_of(destination.host) is None else destination
