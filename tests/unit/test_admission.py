from twisted.trial.unittest import SynchronousTestCase

from echod.server.admission import AccessList, Admission
from echod.server.config import ServerConfiguration
from echod.server.summary import CloseReason


class AccessListTests(SynchronousTestCase):
    def test_the_name_of_an_interface_is_no_part_of_the_address(self) -> None:
        for host in ("fe80::1%eth0", "fe80::1%a%b"):  # Linux refuses only "/", ":" and space in such a name
            self.assertTrue(AccessList(("fe80::/10",)).allows(host), host)
            self.assertFalse(AccessList(("2001:db8::/32",)).allows(host), host)


class CountTests(SynchronousTestCase):
    def test_connections_of_a_host_are_counted_one_by_one(self) -> None:
        admission = Admission(AccessList(()), None, 3)
        for _ in range(3):
            self.assertIsNone(admission.refusal("192.0.2.1"))
            admission.enter("192.0.2.1")
        self.assertIs(admission.refusal("192.0.2.1"), CloseReason.TOO_MANY_FROM_HOST)
        self.assertIsNone(admission.refusal("192.0.2.2"))
        admission.leave("192.0.2.1")
        self.assertIsNone(admission.refusal("192.0.2.1"))
        admission.enter("192.0.2.1")
        self.assertIs(admission.refusal("192.0.2.1"), CloseReason.TOO_MANY_FROM_HOST)

    def test_all_connections_are_counted_one_by_one(self) -> None:
        admission = Admission(AccessList(()), 3, None)
        for host in ("192.0.2.1", "192.0.2.2", ""):
            self.assertIsNone(admission.full())
            admission.enter(host)
        self.assertIs(admission.full(), CloseReason.TOO_MANY)
        self.assertIs(admission.refusal("192.0.2.3"), CloseReason.TOO_MANY)
        admission.leave("192.0.2.2")
        self.assertIsNone(admission.full())
        admission.enter("192.0.2.2")
        self.assertIs(admission.full(), CloseReason.TOO_MANY)

    def test_the_rules_of_another_configuration(self) -> None:
        admission = Admission(AccessList(()), None, None)
        for host in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            admission.enter(host)
        configuration = ServerConfiguration(allow=("192.0.2.0/24",), max_connections_per_host=2)
        admission.apply(configuration, 4, ["192.0.2.1", "192.0.2.1", "192.0.2.2"])
        self.assertIs(admission.refusal("198.51.100.1"), CloseReason.NOT_ALLOWED)
        self.assertIs(admission.refusal("192.0.2.1"), CloseReason.TOO_MANY_FROM_HOST)
        self.assertIsNone(admission.refusal("192.0.2.2"))
        admission.leave("192.0.2.1")
        self.assertIsNone(admission.refusal("192.0.2.1"))
        for host in ("192.0.2.3", "192.0.2.4"):
            admission.enter(host)
        self.assertIs(admission.full(), CloseReason.TOO_MANY)
        admission.apply(ServerConfiguration(), None, [])
        self.assertIsNone(admission.refusal("198.51.100.1"))
        admission.leave("192.0.2.2")  # it was counted by host before

    def test_the_limits_of_a_configuration(self) -> None:
        configuration = ServerConfiguration(allow=("192.0.2.0/24",), max_connections_per_host=1)
        admission = Admission.from_configuration(configuration, 2)
        self.assertIs(admission.refusal("198.51.100.1"), CloseReason.NOT_ALLOWED)
        admission.enter("192.0.2.1")
        self.assertIs(admission.refusal("192.0.2.1"), CloseReason.TOO_MANY_FROM_HOST)
        self.assertIsNone(admission.refusal("192.0.2.2"))
        admission.enter("192.0.2.2")
        self.assertIs(admission.refusal("192.0.2.3"), CloseReason.TOO_MANY)


class PrefixTests(SynchronousTestCase):
    def refused(self, prefix: int, first: str, second: str) -> bool:
        """Return whether, with one connection from each host, a connection from `second` is refused beside `first`."""
        admission = Admission(AccessList(()), None, 1, ipv6_prefix=prefix)
        admission.enter(first)
        refusal = admission.refusal(second)
        admission.leave(first)
        self.assertIsNone(admission.refusal(second))
        self.assertIn(refusal, (None, CloseReason.TOO_MANY_FROM_HOST))
        return refusal is not None

    def test_ipv6_addresses_with_the_same_prefix_are_one_host(self) -> None:
        for prefix, first, second, refused in (
            (64, "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
            (64, "2001:db8:0:1::1", "2001:db8:0:2::1", False),
            (48, "2001:db8:0:1::1", "2001:db8:0:2::1", True),
            (48, "2001:db8:1:1::1", "2001:db8:0:1::1", False),
            (128, "2001:db8::1", "2001:db8::2", False),
            (128, "2001:db8::1", "2001:db8:0::1", True),
            (127, "2001:db8::2", "2001:db8::3", True),
            (127, "2001:db8::1", "2001:db8::2", False),
            (1, "::1", "7fff::1", True),
            (1, "::1", "8000::1", False),
            (64, "192.0.2.1", "192.0.2.2", False),
            (1, "192.0.2.1", "192.0.2.1", True),
            (64, "fe80::1%eth0", "fe80::2%eth0", True),
            (64, "fe80::1%eth0", "fe80::1%eth1", False),
        ):
            self.assertIs(self.refused(prefix, first, second), refused, (prefix, first, second))

    def test_the_default_of_the_configuration_is_64(self) -> None:
        admission = Admission.from_configuration(ServerConfiguration(max_connections_per_host=1), None)
        admission.enter("2001:db8::1")
        self.assertIs(admission.refusal("2001:db8::2"), CloseReason.TOO_MANY_FROM_HOST)
        self.assertIsNone(admission.refusal("2001:db8:0:1::1"))

    def test_text_that_is_no_address_is_counted_as_it_is(self) -> None:
        self.assertTrue(self.refused(64, "a:b", "a:b"))
        self.assertFalse(self.refused(64, "a:b", "a:c"))


class ProxyTests(SynchronousTestCase):
    def test_every_address_may_send_a_header_unless_proxies_are_named(self) -> None:
        admission = Admission(AccessList(("192.0.2.0/24",)), 1, 1)
        self.assertIsNone(admission.proxy_refusal("203.0.113.1"))
        self.assertIsNone(admission.waiting_refusal("203.0.113.1"))
        admission.enter("203.0.113.1")
        self.assertIs(admission.proxy_refusal("203.0.113.1"), CloseReason.TOO_MANY)
        self.assertIs(admission.waiting_refusal("203.0.113.1"), CloseReason.TOO_MANY_FROM_HOST)
        self.assertIsNone(admission.waiting_refusal("203.0.113.2"))
        self.assertIsNone(admission.waiting_refusal(""))

    def test_only_the_proxies_that_are_named_may_send_a_header(self) -> None:
        configuration = ServerConfiguration(
            listen=("haproxy:tcp:1",), trusted_proxy=("203.0.113.1",), max_connections_per_host=1
        )
        admission = Admission.from_configuration(configuration, None)
        self.assertIs(admission.proxy_refusal("203.0.113.2"), CloseReason.NOT_ALLOWED)
        self.assertIsNone(admission.proxy_refusal("203.0.113.1"))
        self.assertIsNone(admission.proxy_refusal(""))
        admission.enter("203.0.113.1")
        self.assertIsNone(admission.waiting_refusal("203.0.113.1"))
