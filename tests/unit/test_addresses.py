from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort, display_host, parse_address, parse_host, parse_network


class DisplayHostTests(SynchronousTestCase):
    def test_an_ipv4_client_of_a_dual_stack_socket(self) -> None:
        self.assertEqual(display_host("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(display_host("::ffff:c000:201"), "192.0.2.1")
        self.assertEqual(hash(HostPort("::1", 1)), hash(HostPort("::1", 1)))

    def test_all_else_stays(self) -> None:
        for host in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0", "::ffff:x", "::ffff:0:1:2", "a.example", ""):
            self.assertEqual(display_host(host), host)

    @given(st.ip_addresses(v=4).map(str))
    def test_any_mapped_address(self, host: str) -> None:
        self.assertEqual(display_host(f"::ffff:{host}"), host)


class HostPortTests(SynchronousTestCase):
    def test_shown_as_in_a_url(self) -> None:
        self.assertEqual(str(HostPort("192.0.2.1", 3005)), "192.0.2.1:3005")
        self.assertEqual(str(HostPort("2001:db8::1", 3005)), "[2001:db8::1]:3005")


class ParseHostTests(SynchronousTestCase):
    def test_names_and_literals(self) -> None:
        same = "localhost", "a.example.", "x_y.example", "bücher.example", "192.0.2.1", "::1", "fe80::1%eth0", "a" * 63
        for text in same:
            self.assertEqual(parse_host(text), text)

    def test_brackets_are_taken_off(self) -> None:
        self.assertEqual(parse_host("[2001:db8::1]"), "2001:db8::1")
        self.assertEqual(parse_host("[fe80::1%eth0]"), "fe80::1%eth0")

    def test_the_longest_names(self) -> None:
        label = "a" * 63
        longest = f"{label}.{label}.{label}.{'a' * 61}"
        for text in (longest, longest + "."):
            self.assertEqual(parse_host(text), text)
        for text in (longest + "a", "b" * 64 + ".example"):
            self.assertEqual(self.refusal(text), f"{text!r} is not a host name")

    def refusal(self, text: str) -> str:
        with self.assertRaises(ValueError, msg=text) as refused:
            parse_host(text)
        return str(refused.exception)

    def test_refused(self) -> None:
        for text in ("", ".", "a..b", "-a", "a-", "a b", "a/b", "a" * 64, "a." * 127 + "a", "a\n", "a.example.."):
            self.assertEqual(self.refusal(text), f"{text!r} is not a host name")
        for text in ("[::1", "::1]", "[192.0.2.1]", "[a]", "[]", "]", "[", "[[::1]]"):
            self.assertEqual(self.refusal(text), f"{text!r} is not an IPv6 address in brackets")
        for text in ("1.2.3.4.5", "192.0.2", "256.1.1.1", "1"):
            self.assertEqual(self.refusal(text), f"{text!r} is not an IPv4 address")

    def test_a_port_in_the_host_is_explained(self) -> None:
        for text in ("a.example:3005", "192.0.2.1:3005", "host:3005"):
            why = "is not a host name or an IPv6 address (the port is a separate argument)"
            self.assertEqual(self.refusal(text), f"{text!r} {why}")


class ParseAddressTests(SynchronousTestCase):
    def test_an_address_or_none(self) -> None:
        self.assertEqual(parse_address("192.0.2.1"), IPv4Address("192.0.2.1"))
        self.assertEqual(parse_address("fe80::1%eth0"), IPv6Address("fe80::1%eth0"))
        for text in ("", "a.example", "[::1]", "192.0.2"):
            self.assertIsNone(parse_address(text))


class ParseNetworkTests(SynchronousTestCase):
    def test_networks(self) -> None:
        for text, network in (
            ("192.0.2.0/24", "192.0.2.0/24"), ("192.0.2.1", "192.0.2.1/32"), ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"), ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"), ("::/0", "::/0"),
        ):  # fmt: skip
            self.assertEqual(parse_network(text), ip_network(network), text)

    def test_refused(self) -> None:
        for text in ("192.0.2.1/24", "", "a.example", "::1/129"):
            with self.assertRaises(ValueError, msg=text):
                parse_network(text)

    def test_a_larger_network_than_that_of_the_mapped_addresses(self) -> None:
        self.assertEqual(parse_network("::fffe:0:0/95"), ip_network("::fffe:0:0/95"))
        with self.assertRaises(ValueError):
            parse_network("::ffff:0:0/95")
