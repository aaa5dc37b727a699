"""The parser of the PROXY protocol's header, versions 1 and 2: bytes in, the client's address out.

The rules and the numbers are those of the PROXY protocol specification (HAProxy, 2020/03/05). Twisted's own parsers
need the header's first bytes in one piece, and raise unexpected exceptions for some malformed headers.
"""

import struct
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from echod.common.addresses import HostPort, display_host

__all__ = ["MalformedHeader", "ProxyHeaderReader", "ProxyInfo"]

V1_START = b"PROXY "
V1_LONGEST = 107
"""Bytes, CRLF included (section 2.1)."""

V2_START = b"\r\n\r\n\0\r\nQUIT\n"
V2_FIXED = 16
"""Bytes before the addresses: signature, version and command, family, length (section 2.2)."""

V2_LONGEST = 536
"""Bytes that a receiver must accept (section 2.2): 16 fixed, 216 of addresses, the rest extensions.

A header with a greater length is refused, so that no client makes the server hold 64 KiB for it.
"""

_V2_ADDRESSES = {0x11: "!4s4sHH", 0x21: "!16s16sHH"}
"""Family and transport: TCP over IPv4, TCP over IPv6."""

_FAMILIES = frozenset(family << 4 | transport for family in range(4) for transport in range(3))
"""The assigned values: unspecified, IPv4, IPv6, Unix; unspecified, stream, datagram. Others are invalid."""

_LOCAL = 0x20
_PROXY = 0x21
"""Version 2 with the command LOCAL, for a connection of the proxy's own, or PROXY, for a client's."""

_LARGEST_PORT = 65535


class MalformedHeader(Exception):
    """The bytes are not a PROXY header."""


@dataclass(frozen=True, slots=True)
class ProxyInfo:
    """The content of a header."""

    client: HostPort | None
    """The client's address; None for a connection of the proxy's own, and for an unknown address family.

    The host is in the form of `display_host`, and has no scope id.
    """
    rest: bytes
    """The bytes after the header."""


class ProxyHeaderReader:
    """Reads a header from a stream of bytes, at every fragmentation."""

    def __init__(self) -> None:
        self._held = b""

    @property
    def pending(self) -> int:
        """The number of bytes read so far."""
        return len(self._held)

    def feed(self, data: bytes) -> ProxyInfo | None:
        """Take `data`; return the header's content once it is complete, None before.

        Raises MalformedHeader as soon as the bytes cannot begin a header.
        """
        self._held += data
        if _may_begin(self._held, V2_START):
            return self._version_2()
        if _may_begin(self._held, V1_START):
            return self._version_1()
        raise MalformedHeader("neither version's signature")

    def _version_1(self) -> ProxyInfo | None:
        line, found, rest = self._held[:V1_LONGEST].partition(b"\r\n")
        if not found:
            if len(self._held) >= V1_LONGEST:
                raise MalformedHeader("no end of line")
            return None
        rest += self._held[V1_LONGEST:]
        return ProxyInfo(_client_of_line(line), rest)

    def _version_2(self) -> ProxyInfo | None:
        if len(self._held) < V2_FIXED:
            return None
        command, family, length = struct.unpack_from("!BBH", self._held, len(V2_START))
        whole = V2_FIXED + length
        if command not in (_LOCAL, _PROXY) or whole > V2_LONGEST:
            raise MalformedHeader("unknown version or command, or too long")
        if len(self._held) < whole:
            return None
        rest = self._held[whole:]
        form = _V2_ADDRESSES.get(family)
        if command == _LOCAL:  # then the family is ignored
            return ProxyInfo(None, rest)
        if family not in _FAMILIES:
            raise MalformedHeader("unknown address family")
        if form is None:  # an address family without TCP
            return ProxyInfo(None, rest)
        if length < struct.calcsize(form):
            raise MalformedHeader("addresses cut short")
        source, _, port, _ = struct.unpack_from(form, self._held, V2_FIXED)
        address = IPv4Address(source) if len(source) == 4 else IPv6Address(source)  # noqa: PLR2004 - octets of IPv4
        return ProxyInfo(HostPort(display_host(str(address)), port), rest)


def _may_begin(held: bytes, start: bytes) -> bool:
    return held.startswith(start) or start.startswith(held)


def _client_of_line(line: bytes) -> HostPort | None:
    try:
        words = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise MalformedHeader("not ASCII") from None
    match words:
        case ["PROXY", "UNKNOWN", *_]:
            return None
        case ["PROXY", "TCP4", source, destination, *ports]:
            family: type[IPv4Address] | type[IPv6Address] = IPv4Address
        case ["PROXY", "TCP6", source, destination, *ports]:
            family = IPv6Address
        case _:
            raise MalformedHeader("unknown words")
    if "%" in source + destination:  # `IPv6Address` accepts any text after it as a scope id
        raise MalformedHeader("not an address")
    try:
        address, _ = family(source), family(destination)
    except AddressValueError:
        raise MalformedHeader("not an address") from None
    if len(ports) != 2 or not all(map(_is_port, ports)):  # noqa: PLR2004 - source and destination
        raise MalformedHeader("not a port")
    return HostPort(display_host(str(address)), int(ports[0]))


def _is_port(text: str) -> bool:
    """Return whether `text` is a port: decimal, without leading zeros, which could mean octal (section 2.1)."""
    return (
        text.isdigit()
        and len(text) <= len(str(_LARGEST_PORT))
        and str(int(text)) == text
        and int(text) <= _LARGEST_PORT
    )
