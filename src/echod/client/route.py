"""Which way a probe goes: to whom, over which family of addresses, from which of ours."""

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
    """Return the family of a literal; None of a name."""
    address = parse_address(host)
    if address is None:
        return None
    return Family.IPV4 if isinstance(address, IPv4Address) else Family.IPV6


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way to a target. Raises ConfigurationError where what is asked for cannot go together."""

    target: HostPort
    family: Family | None = None
    """The only one to use; None: the source's, or else both."""
    source: str | None = None
    """The address of this host to connect from, scope id allowed; None: the one that routing picks."""
    address: HostPort | None = None
    """The one address of the target to connect to; None: any that its name has."""

    def __post_init__(self) -> None:
        aim = family_of((self.address or self.target).host)
        origin = None if self.source is None else family_of(self.source)
        if self.source is not None and origin is None:
            raise ConfigurationError(f"source: {self.source} is not an IPv4 or IPv6 address")
        if self.family is not None and origin is not None and self.family is not origin:
            raise ConfigurationError(f"source: {self.source} is not an {self.family.value} address")
        asked = self.family or origin
        if aim is not None and asked is not None and aim is not asked:
            if self.family is None:
                raise ConfigurationError(f"source: {self.source} reaches no {aim.value} address")
            raise ConfigurationError(f"{asked.value.lower()}: {self.target.host} is an {aim.value} address")

    @property
    def only(self) -> Family | None:
        """The one family that connections may use; None where both may be."""
        return self.family or (None if self.source is None else family_of(self.source))

    @property
    def literal(self) -> HostPort | None:
        """The one address to connect to; None where a name has to be resolved first."""
        aim = self.address or self.target
        return None if family_of(aim.host) is None else aim
