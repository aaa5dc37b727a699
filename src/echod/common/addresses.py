"""Hosts, addresses and networks: parsed from text, and displayed."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["HostPort", "display_host", "host_port", "parse_address", "parse_host", "parse_network"]

MAPPED = "::ffff:"
"""The beginning of an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2)."""

MAPPED_BITS = 96
"""Bits of that prefix, ::ffff:0:0/96."""

MAX_NAME = 253
"""Characters in a host name (RFC 1035 section 2.3.4 allows 255 octets on the wire)."""

MAX_LABEL = 63
"""Octets in one label of a host name (RFC 1035 section 2.3.4)."""

# RFC 952 has no underscores in host names, but resolvers answer for such names and operators use them.
_LABEL = re.compile(r"[^\W-](?:[\w-]*\w)?", re.UNICODE)


def display_host(host: str) -> str:
    """Return an address as echod displays, logs and matches it: an IPv4-mapped IPv6 address as IPv4.

    An IPv4 client of a dual-stack socket appears as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
    """
    if host.startswith(MAPPED):
        rest = host[len(MAPPED) :]
        if "." in rest:  # the form that operating systems write; no need to parse it for each connection
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
    """A host and a TCP port. `str()` gives the form of a URL: `192.0.2.1:3005`, `[2001:db8::1]:3005`."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def host_port(address: object) -> HostPort:
    """Return a Twisted address for display. The host is empty if it has none, as the address of a Unix socket."""
    return HostPort(display_host(getattr(address, "host", "")), getattr(address, "port", 0))


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address in `text`, with its scope id; None if `text` is not an address."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def parse_host(text: str) -> str:
    """Return the host in `text`: a name, an IPv4 or an IPv6 address. Brackets are removed.

    Raises ValueError, with a sentence for the user, if `text` is not a host.
    """
    if text.startswith("[") or text.endswith("]"):
        inner = text[1:-1]
        if text != f"[{inner}]" or not isinstance(parse_address(inner), IPv6Address):
            raise ValueError(f"{text!r} is not an IPv6 address in brackets")
        return inner
    if parse_address(text) is not None:
        return text
    if ":" in text:
        raise ValueError(f"{text!r} is not a host name or an IPv6 address (the port is a separate argument)")
    name = text.removesuffix(".")
    labels = name.split(".")
    if len(name) > MAX_NAME or not all(len(part) <= MAX_LABEL and _LABEL.fullmatch(part) for part in labels):
        raise ValueError(f"{text!r} is not a host name")
    if labels[-1].isdigit():
        raise ValueError(f"{text!r} is not an IPv4 address")
    return text


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Return the network in `text`: `192.0.2.0/24`, `2001:db8::/32`, or a single address.

    An IPv4-mapped IPv6 network is returned as the IPv4 network. Raises ValueError.
    """
    parsed = ip_network(text)
    mapped = parsed.network_address.ipv4_mapped if isinstance(parsed, IPv6Network) else None
    if mapped is None:
        return parsed
    return IPv4Network((mapped, parsed.prefixlen - MAPPED_BITS))
