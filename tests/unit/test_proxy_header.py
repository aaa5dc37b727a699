import socket
import struct
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort, display_host
from echod.server.proxy_header import MalformedHeader, ProxyHeaderReader, ProxyInfo
from tests.unit.test_records import split

LONGEST = 536
"""Bytes of the longest header of version 2 that a receiver must accept (section 2.2)."""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, addresses: bytes, extensions: bytes = b"") -> bytes:
    body = addresses + extensions
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


IPV4 = struct.pack("!4s4sHH", socket.inet_aton("192.0.2.7"), socket.inet_aton("192.0.2.1"), 40000, 3005)
IPV6 = struct.pack(
    "!16s16sHH",
    socket.inet_pton(socket.AF_INET6, "2001:db8::7"),
    socket.inet_pton(socket.AF_INET6, "2001:db8::1"),
    40000,
    3005,
)

MAPPED = struct.pack("!16s16sHH", *[socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.7")] * 2, 40000, 3005)

HEADERS = {
    b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 3005\r\n": HostPort("192.0.2.7", 40000),
    b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n": HostPort("2001:db8::7", 65535),
    b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n": HostPort(
        ":".join(["ffff"] * 8), 65535
    ),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ignored words 1 2\r\n": None,
    v2(0x21, 0x11, IPV4): HostPort("192.0.2.7", 40000),
    v2(0x21, 0x11, IPV4, b"\x04\x00\x01x"): HostPort("192.0.2.7", 40000),
    v2(0x21, 0x21, IPV6): HostPort("2001:db8::7", 40000),
    v2(0x20, 0x00, b""): None,
    v2(0x20, 0x11, IPV4): None,
    v2(0x21, 0x00, b""): None,
    v2(0x21, 0x31, b"/" * 216): None,
    v2(0x21, 0x12, IPV4): None,
    v2(0x21, 0x11, IPV4, bytes(LONGEST - 16 - len(IPV4))): HostPort("192.0.2.7", 40000),
    b"PROXY UNKNOWN".ljust(105) + b"\r\n": None,
    b"PROXY TCP6 ::ffff:192.0.2.7 ::FFFF:c000:201 1 65535\r\n": HostPort("192.0.2.7", 1),
    v2(0x21, 0x21, MAPPED): HostPort("192.0.2.7", 40000),
    v2(0x20, 0x43, IPV4): None,
}

MALFORMED = {
    b"GET / HTTP/1.1\r\n": "neither version's signature",
    b"\0": "neither version's signature",
    b"PROXYTCP4": "neither version's signature",
    b"PROXY TCP5 192.0.2.7 192.0.2.1 1 2\r\n": "unknown words",
    b"PROXY TCP4\r\n": "unknown words",
    b"PROXY \r\n": "unknown words",
    b"PROXY \xff\r\n": "not ASCII",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2 3\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 x 2\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 -1 2\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 2\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 2 65536\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 000001 2\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 00001 2\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 1 00\r\n": "not a port",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 1\n 2\r\n": "not a port",
    b"PROXY TCP6 2001:db8::7%eth0 2001:db8::1 1 2\r\n": "not an address",
    b"PROXY TCP6 2001:db8::7 2001:db8::1%1 1 2\r\n": "not an address",
    b"PROXY TCP6 2001:db8::7%\x1b[2J\nforged 2001:db8::1 1 2\r\n": "not an address",
    b"PROXY TCP6 2001:db8::7/64 2001:db8::1 1 2\r\n": "not an address",
    b"PROXY TCP6 2001:db8::00007 2001:db8::1 1 2\r\n": "not an address",
    b"PROXY TCP4 192.0.2.07 192.0.2.1 1 2\r\n": "not an address",
    b"PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n": "not an address",
    b"PROXY TCP4 192.0.2.777 192.0.2.1 1 2\r\n": "not an address",
    b"PROXY TCP4 192.0.2.7  192.0.2.1 1 2\r\n": "not an address",
    b"PROXY TCP4 192.0.2.7 x 1 2\r\n": "not an address",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n": "not an address",
    b"PROXY TCP6 192.0.2.7 192.0.2.1 1 2\r\n": "not an address",
    b"PROXY UNKNOWN" + b" " * 107: "no end of line",
    b"PROXY UNKNOWN".ljust(107): "no end of line",
    b"PROXY UNKNOWN".ljust(106) + b"\r\n": "no end of line",
    SIGNATURE + b"\x11\x11\0\x0c": "unknown version or command, or too long",
    SIGNATURE + b"\x2f\x11\0\x0c": "unknown version or command, or too long",
    SIGNATURE + b"\x21\x11\xff\xff": "unknown version or command, or too long",
    SIGNATURE + b"\x21\x11" + struct.pack("!H", LONGEST - 16 + 1): "unknown version or command, or too long",
    v2(0x21, 0x41, IPV4): "unknown address family",
    v2(0x21, 0x13, IPV4): "unknown address family",
    v2(0x21, 0x11, IPV4[:-1]): "addresses cut short",
    v2(0x21, 0x21, IPV4): "addresses cut short",
    v2(0x21, 0x11, b""): "addresses cut short",
}


_CHARACTERS = st.text("0123456789abcdefABCDEF:.%/ \t_+-x", max_size=3)
NEARLY_ADDRESSES = st.builds(
    lambda address, at, more: f"{str(address)[:at]}{more}{str(address)[at:]}",
    st.ip_addresses(),
    st.integers(0, 40),
    _CHARACTERS,
)
"""Addresses with a few characters inserted."""


class HeaderTests(SynchronousTestCase):
    def test_a_header_in_one_piece(self) -> None:
        for header, client in HEADERS.items():
            self.assertEqual(ProxyHeaderReader().feed(header), ProxyInfo(client, b""), header)

    def test_a_header_byte_by_byte_and_the_bytes_after_it(self) -> None:
        for header, client in HEADERS.items():
            reader = ProxyHeaderReader()
            for n in range(len(header) - 1):
                self.assertIsNone(reader.feed(header[n : n + 1]), header)
                self.assertEqual(reader.pending, n + 1)
            self.assertEqual(reader.feed(header[-1:] + b"record"), ProxyInfo(client, b"record"))

    def test_bytes_after_the_first_end_of_line_are_not_the_headers(self) -> None:
        header = b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n"
        info = ProxyHeaderReader().feed(header + b"re\r\ncord")
        self.assertEqual(info, ProxyInfo(HostPort("192.0.2.7", 1), b"re\r\ncord"))

    @given(header=st.sampled_from(sorted(HEADERS)), rest=st.binary(max_size=300), cuts=st.lists(st.integers(0, 700)))
    def test_every_fragmentation(self, header: bytes, rest: bytes, cuts: list[int]) -> None:
        reader = ProxyHeaderReader()
        pieces = iter(split(header + rest, cuts))
        for piece in pieces:
            info = reader.feed(piece)
            if info is not None:
                self.assertEqual(info.client, HEADERS[header])
                self.assertEqual(info.rest + b"".join(pieces), rest)

    def test_a_malformed_header_in_one_piece(self) -> None:
        for header, rule in MALFORMED.items():
            with self.assertRaises(MalformedHeader, msg=header) as raised:
                ProxyHeaderReader().feed(header)
            self.assertEqual(str(raised.exception), rule, header)

    def test_a_malformed_header_byte_by_byte(self) -> None:
        for header in MALFORMED:
            reader = ProxyHeaderReader()
            with self.assertRaises(MalformedHeader, msg=header):
                for n in range(len(header)):
                    reader.feed(header[n : n + 1])

    @given(st.binary(max_size=200).map(lambda tail: SIGNATURE + tail) | st.binary(max_size=120))
    def test_any_bytes_are_parsed_or_refused_and_the_held_bytes_are_bounded(self, data: bytes) -> None:
        reader = ProxyHeaderReader()
        try:
            info = reader.feed(data)
        except MalformedHeader:
            return
        if info is None:
            self.assertLess(reader.pending, LONGEST)

    @settings(deadline=None)
    @given(NEARLY_ADDRESSES, st.sampled_from(["TCP4", "TCP6"]))
    def test_exactly_the_addresses_of_the_system_are_accepted(self, text: str, family: str) -> None:
        """inet_pton has the form that the specification demands: it knows no scope id, and no leading zeros in IPv4."""
        number = socket.AF_INET if family == "TCP4" else socket.AF_INET6
        try:
            expected: bytes | None = socket.inet_pton(number, text)
        except OSError:
            expected = None
        line = f"PROXY {family} {text} {text} 1 2\r\n".encode()
        try:
            info = ProxyHeaderReader().feed(line)
        except MalformedHeader:
            self.assertIsNone(expected)
        else:
            assert info is not None
            assert info.client is not None
            assert expected is not None
            self.assertEqual(info.client.host, display_host(str(ip_address(expected))))

    @given(st.ip_addresses(v=6).map(str) | st.ip_addresses(v=4).map("::ffff:{}".format))
    def test_every_ipv6_address_is_accepted(self, text: str) -> None:
        info = ProxyHeaderReader().feed(f"PROXY TCP6 {text} ::1 1 2\r\n".encode())
        assert info is not None
        assert info.client is not None
        self.assertEqual(info.client.host, display_host(text))
