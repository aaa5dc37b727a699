"""Addresses as people write and read them."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["HostPort", "display_host", "parse_address", "parse_host", "parse_network"]

MAPPED = "::ffff:"

MAX_NAME = 253
"""Characters in a host name (RFC 1035 section 2.3.4 allows 255 octets on the wire)."""

MAX_LABEL = 63
"""Octets in one label of a host name (RFC 1035 section 2.3.4)."""

# Underscores are no part of a host name (RFC 952), yet resolvers answer for them and operators use them.
_LABEL = re.compile(r"[^\W-](?:[\w-]*\w)?", re.UNICODE)


def display_host(host: str) -> str:
    """Return an address as echod shows, logs and matches it.

    An IPv4 client of a dual-stack socket appears as `::ffff:a.b.c.d` (RFC 4291
    section 2.5.5.2); it is shown as the `a.b.c.d` that it is.
    """
    if host.startswith(MAPPED):
        rest = host[len(MAPPED) :]
        if "." in rest:  # as every system writes it; the long way takes 6 µs of each connection
            return rest
        try:
            mapped = IPv6Address(host).ipv4_mapped
        except AddressValueError:
            return host
        if mapped is not None:
            return str(mapped)
    return host


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host and a TCP port. `str()` writes it as in a URL: `192.0.2.1:3005`, `[2001:db8::1]:3005`."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return `text` as an address, scope id and all, or None where it is none."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def parse_host(text: str) -> str:
    """Return the host that `text` means: a name, an IPv4 or an IPv6 literal, brackets taken off.

    Raises ValueError, with a sentence for the user, where it can be none of these.
    """
    if text.startswith("[") or text.endswith("]"):
        inner = text[1:-1]
        if text != f"[{inner}]" or not isinstance(parse_address(inner), IPv6Address):
            raise ValueError(f"{text!r} is not an IPv6 address in brackets")
        return inner
    if parse_address(text) is not None:
        return text
    if ":" in text:
        raise ValueError(f"{text!r} is neither a host name nor an IPv6 address (a port goes in a word of its own)")
    name = text.removesuffix(".")
    labels = name.split(".")
    if len(name) > MAX_NAME or not all(len(part) <= MAX_LABEL and _LABEL.fullmatch(part) for part in labels):
        raise ValueError(f"{text!r} is not a host name")
    if labels[-1].isdigit():
        raise ValueError(f"{text!r} is not an IPv4 address")
    return text


def parse_network(text: str) -> IPv4Network | IPv6Network:
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
