from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort, display_host, parse_host


class ShownHostTests(SynchronousTestCase):
    def test_an_ipv4_client_of_a_dual_stack_socket(self) -> None:
        self.assertEqual(display_host("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(display_host("::ffff:c000:201"), "192.0.2.1")

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

    def test_refused(self) -> None:
        for text in (
            "", ".", "a..b", "-a", "a-", "a b", "a/b", "a" * 64, "a." * 127 + "a", "[::1", "::1]", "[192.0.2.1]",
            "[a]", "[]", "]", "host:3005", "192.0.2.1:3005", "1.2.3.4.5", "192.0.2", "256.1.1.1", "a\n",
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=text) as refused:
                parse_host(text)
            self.assertIn(repr(text), str(refused.exception))

    def test_a_port_in_the_host_is_explained(self) -> None:
        with self.assertRaises(ValueError) as refused:
            parse_host("a.example:3005")
        self.assertIn("word of its own", str(refused.exception))
