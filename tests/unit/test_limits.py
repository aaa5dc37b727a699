from dataclasses import replace

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.common.addresses import HostPort, parse_network
from echod.common.option_types import Choice, Network
from echod.server.admission import AccessList, Admission
from echod.server.config import LINGER, QUIET, ExchangeRules
from echod.server.connections import Connections
from echod.server.factory import EchoFactory, ServerContext
from echod.server.proxy import HEADER_GRACE, HEADER_TIMEOUT, ProxiedFactory
from echod.server.summary import REFUSALS, CloseReason
from tests.support.memory import MemoryObserver, MemoryTransport
from tests.support.paths import V2_LOCAL
from tests.support.sockets import RECORD

RULES = ExchangeRules(record_size=250, timeout=30.0, keep_alive=False, linger=LINGER, quiet=QUIET)


class AccessListTests(SynchronousTestCase):
    def test_an_empty_list_admits_every_client(self) -> None:
        for host in ("192.0.2.1", "2001:db8::1", ""):
            self.assertTrue(AccessList(()).allows(host))

    def test_only_clients_of_the_networks_are_admitted(self) -> None:
        access = AccessList(("192.0.2.0/24", "2001:db8::/32", "198.51.100.7", "fe80::/10"))
        for host in ("192.0.2.1", "192.0.2.255", "2001:db8:1::1", "198.51.100.7", "fe80::1%eth0", ""):
            self.assertTrue(access.allows(host), host)
        for host in ("192.0.3.1", "2001:db9::1", "198.51.100.8", "::1", "no address"):
            self.assertFalse(access.allows(host), host)

    def test_a_mapped_network_is_an_ipv4_network(self) -> None:
        self.assertTrue(AccessList(("::ffff:192.0.2.0/120",)).allows("192.0.2.9"))
        self.assertFalse(AccessList(("::ffff:192.0.2.0/120",)).allows("192.0.3.9"))
        with self.assertRaises(ValueError):
            parse_network("::ffff:0:0/90")

    def test_the_option_types_of_networks_and_choices(self) -> None:
        self.assertEqual(Network().from_text("192.0.2.0/24"), "192.0.2.0/24")
        for text in ("192.0.2.1/24", "x", "", 1):
            with self.assertRaises(ValueError):
                Network().check(text)
        self.assertEqual(Choice(("a", "b")).from_text("a"), "a")
        self.assertEqual(Choice(("a", "b")).metavar, "a|b")
        for word in ("c", "", 1):
            with self.assertRaises(ValueError):
                Choice(("a", "b")).check(word)


class LimitsTestCase(SynchronousTestCase):
    rules = RULES

    def setUp(self) -> None:
        self.clock = Clock()
        self.observer = MemoryObserver()
        self.connections = Connections()

    def factory(
        self,
        *allow: str,
        limit: int | None = None,
        per_host: int | None = None,
        prefix: int = 128,
        proxies: AccessList | None = None,
    ) -> EchoFactory:
        admission = Admission(AccessList(allow), limit, per_host, ipv6_prefix=prefix, proxies=proxies)
        self.context = ServerContext(self.rules, self.clock, self.connections, admission, self.observer)
        return EchoFactory(self.context, "test")

    def connect(self, factory: EchoFactory | ProxiedFactory, address: IAddress) -> MemoryTransport | None:
        connection = factory.buildProtocol(address)
        if connection is None:
            return None
        transport = MemoryTransport()
        transport.connect(connection)
        return transport

    def v4(self, host: str) -> IPv6Address:
        return IPv6Address("TCP", f"::ffff:{host}", 40000)


class AdmissionTests(LimitsTestCase):
    def test_the_limit_of_all_connections(self) -> None:
        factory = self.factory(limit=2)
        first = self.connect(factory, self.v4("192.0.2.1"))
        self.assertIsNotNone(self.connect(factory, self.v4("192.0.2.2")))
        self.assertIsNone(self.connect(factory, self.v4("192.0.2.3")))
        self.assertEqual(self.observer.reasons, [CloseReason.TOO_MANY])
        self.assertEqual(self.observer.summaries[0].peer.host, "192.0.2.3")
        assert first is not None
        first.reset()
        self.assertIsNotNone(self.connect(factory, self.v4("192.0.2.3")))

    def test_the_limit_of_connections_from_one_host(self) -> None:
        factory = self.factory(per_host=2)
        transports = [self.connect(factory, self.v4("192.0.2.1")) for _ in range(3)]
        self.assertEqual([t is None for t in transports], [False, False, True])
        self.assertIsNone(self.connect(factory, IPv4Address("TCP", "192.0.2.1", 1)))
        self.assertIsNotNone(self.connect(factory, self.v4("192.0.2.2")))
        self.assertEqual(self.observer.reasons, [CloseReason.TOO_MANY_FROM_HOST] * 2)
        assert transports[0] is not None
        transports[0].reset()
        self.assertIsNotNone(self.connect(factory, self.v4("192.0.2.1")))

    def test_ipv6_clients_of_one_network_are_one_host(self) -> None:
        factory = self.factory(per_host=2, prefix=64)
        hosts = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1", "2001:db8:1:2::1", "2001:db8:1:2::3")
        transports = [self.connect(factory, IPv6Address("TCP", host, 1)) for host in hosts]
        self.assertEqual([t is None for t in transports], [False, False, True, True])
        self.assertIsNotNone(self.connect(factory, IPv6Address("TCP", "2001:db8:1:3::1", 1)))
        self.assertEqual(self.observer.reasons, [CloseReason.TOO_MANY_FROM_HOST] * 2)
        assert transports[1] is not None
        transports[1].reset()
        self.assertIsNotNone(self.connect(factory, IPv6Address("TCP", "2001:db8:1:2::4", 1)))

    def test_ipv4_clients_are_counted_by_address_for_any_prefix(self) -> None:
        factory = self.factory(per_host=1, prefix=1)
        for host in ("192.0.2.1", "192.0.2.2"):
            self.assertIsNotNone(self.connect(factory, self.v4(host)))
            self.assertIsNone(self.connect(factory, IPv4Address("TCP", host, 1)))

    def test_clients_of_unix_sockets_have_no_host_and_are_admitted(self) -> None:
        factory = self.factory("192.0.2.0/24", per_host=1)
        for _ in range(3):
            self.assertIsNotNone(self.connect(factory, UNIXAddress(None)))

    def test_a_client_outside_the_access_list_is_refused(self) -> None:
        factory = self.factory("192.0.2.0/24")
        self.assertIsNotNone(self.connect(factory, self.v4("192.0.2.1")))
        self.assertIsNone(self.connect(factory, self.v4("198.51.100.1")))
        self.assertEqual(self.observer.reasons, [CloseReason.NOT_ALLOWED])

    def test_the_values_of_the_refusals(self) -> None:
        self.assertEqual({r.value for r in REFUSALS}, {"not-allowed", "too-many", "too-many-from-host"})


class ProxiedTests(LimitsTestCase):
    """The same limits behind a proxy: the client's address is in the PROXY header."""

    def proxied(self, header: bytes, factory: EchoFactory | None = None) -> MemoryTransport | None:
        self.echo = factory or self.factory()
        factory_of_headers = ProxiedFactory(self.context, self.echo, clients=self.echo.of_clients(), own=self.echo)
        transport = self.connect(factory_of_headers, IPv4Address("TCP", "203.0.113.1", 9))
        if transport is not None and header:
            transport.receive(header)
        return transport

    def header(self, host: str) -> bytes:
        return f"PROXY TCP4 {host} 192.0.2.254 40000 3005\r\n".encode()

    def check_clean_end(self) -> None:
        """No delayed call is pending, and no connection is open or counted."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.connections), 0)
        self.assertIsNone(self.context.admission.full())

    def test_the_summary_has_the_address_in_the_header(self) -> None:
        transport = self.proxied(self.header("192.0.2.1") + RECORD[:100])
        assert transport is not None
        transport.receive(RECORD[100:])
        transport.fin()
        self.assertEqual(transport.value(), RECORD)
        self.assertEqual(self.observer.reasons, [CloseReason.ECHOED])
        self.assertEqual(self.observer.summaries[0].peer.host, "192.0.2.1")
        self.assertEqual(self.observer.summaries[0].bytes_received, 250)
        self.check_clean_end()

    def test_a_connection_of_the_proxy_has_the_proxys_address(self) -> None:
        transport = self.proxied(b"PROXY UNKNOWN\r\n")
        assert transport is not None
        transport.fin()
        self.assertEqual(self.observer.summaries[0].peer.host, "203.0.113.1")
        self.check_clean_end()

    def test_the_access_list_applies_to_the_address_in_the_header(self) -> None:
        factory = self.factory("192.0.2.0/24")
        transport = self.proxied(self.header("198.51.100.1") + RECORD, factory)
        assert transport is not None
        self.assertTrue(transport.aborted)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.observer.reasons, [CloseReason.NOT_ALLOWED])
        self.assertEqual(self.observer.summaries[0].peer.host, "198.51.100.1")
        self.check_clean_end()

    def test_a_connection_without_its_header_counts_as_open(self) -> None:
        factory = self.factory(limit=1)
        transport = self.proxied(b"PROXY ", factory)
        self.assertIsNone(self.proxied(b"", factory))
        self.assertEqual(self.observer.reasons, [CloseReason.TOO_MANY])
        assert transport is not None
        transport.receive(b"UNKNOWN\r\n" + RECORD)
        transport.fin()
        self.assertEqual(self.observer.reasons[1:], [CloseReason.ECHOED])
        self.check_clean_end()

    def test_an_incomplete_header_is_refused_at_its_deadline(self) -> None:
        self.proxied(b"PROXY ")
        self.clock.advance(HEADER_TIMEOUT)
        self.assertEqual(self.observer.reasons, [CloseReason.BAD_PROXY_HEADER])
        self.check_clean_end()

    def test_bytes_that_are_not_a_header_are_refused(self) -> None:
        self.proxied(RECORD)
        self.assertEqual(self.observer.reasons, [CloseReason.BAD_PROXY_HEADER])
        self.assertEqual(self.observer.summaries[0].bytes_received, 250)
        self.check_clean_end()

    def test_an_end_before_a_byte_of_the_header_is_a_check(self) -> None:
        for end in (MemoryTransport.fin, MemoryTransport.reset):
            transport = self.proxied(b"")
            assert transport is not None
            end(transport)
            self.assertEqual(self.observer.reasons, [CloseReason.HEALTH_CHECK])
            self.assertEqual(self.observer.summaries.pop().peer, HostPort("203.0.113.1", 9))
            self.check_clean_end()

    def test_an_end_within_the_header_is_no_check(self) -> None:
        for end in (MemoryTransport.fin, MemoryTransport.reset):
            transport = self.proxied(b"PROXY ")
            assert transport is not None
            end(transport)
            self.assertEqual(self.observer.reasons, [CloseReason.BAD_PROXY_HEADER])
            self.observer.summaries.clear()
            self.check_clean_end()

    def test_an_end_after_the_header_is_a_check_only_without_a_client(self) -> None:
        own = b"PROXY TCP4 203.0.113.1 192.0.2.254 9 3005\r\n"
        for header, of_fin, of_reset in (
            (b"PROXY UNKNOWN\r\n", CloseReason.HEALTH_CHECK, CloseReason.HEALTH_CHECK),
            (own, CloseReason.HEALTH_CHECK, CloseReason.HEALTH_CHECK),
            (V2_LOCAL, CloseReason.HEALTH_CHECK, CloseReason.HEALTH_CHECK),
            (self.header("192.0.2.1"), CloseReason.NO_DATA, CloseReason.RESET),
            (own.replace(b" 9 ", b" 10 "), CloseReason.NO_DATA, CloseReason.RESET),
        ):
            for end, reason in ((MemoryTransport.fin, of_fin), (MemoryTransport.reset, of_reset)):
                transport = self.proxied(header)
                assert transport is not None
                end(transport)
                self.assertEqual(self.observer.reasons, [reason], header)
                self.observer.summaries.clear()
                self.check_clean_end()

    def test_a_proxy_on_an_address_with_a_scope_names_itself_without_it(self) -> None:
        echo = self.factory()
        factory = ProxiedFactory(self.context, echo, clients=echo.of_clients(), own=echo)
        transport = self.connect(factory, IPv6Address("TCP", "fe80::1%eth0", 9))
        assert transport is not None
        transport.receive(b"PROXY TCP6 fe80::1 fe80::2 9 3005\r\n")
        transport.fin()
        self.assertEqual(self.observer.reasons, [CloseReason.HEALTH_CHECK])
        self.assertEqual(self.observer.summaries[0].peer, HostPort("fe80::1%eth0", 9))
        self.check_clean_end()

    def test_connections_that_wait_for_their_header_count_after_the_grace(self) -> None:
        factory = self.factory(per_host=3)
        transports = [self.proxied(b"PROXY ", factory) for _ in range(50)]
        self.assertNotIn(None, transports)
        self.clock.advance(HEADER_GRACE - 0.125)
        self.assertEqual(self.observer.reasons, [])
        self.clock.advance(0.125)
        self.assertEqual(self.observer.reasons, [CloseReason.TOO_MANY_FROM_HOST] * 47)
        self.assertEqual(len(self.connections), 3)
        self.clock.advance(HEADER_TIMEOUT - HEADER_GRACE - 0.125)
        self.assertEqual(len(self.connections), 3)
        self.clock.advance(0.125)
        self.assertEqual(self.observer.reasons[47:], [CloseReason.BAD_PROXY_HEADER] * 3)
        self.check_clean_end()

    def test_a_late_header_frees_its_place(self) -> None:
        factory = self.factory(per_host=1)
        for host in ("192.0.2.1", "192.0.2.2"):
            transport = self.proxied(b"", factory)
            self.clock.advance(HEADER_GRACE)
            assert transport is not None
            transport.receive(self.header(host))
        self.assertEqual(len(self.connections), 2)
        self.assertEqual(self.observer.reasons, [])
        self.clock.advance(30)
        self.assertEqual(self.observer.reasons, [CloseReason.TIMEOUT] * 2)
        self.check_clean_end()

    def test_a_trusted_proxy_may_have_any_number_of_connections_that_wait(self) -> None:
        factory = self.factory(per_host=3, proxies=AccessList(("203.0.113.0/24",)))
        for _ in range(50):
            self.proxied(b"", factory)
        self.clock.pump([HEADER_GRACE, HEADER_TIMEOUT - HEADER_GRACE - 0.125])
        self.assertEqual(len(self.connections), 50)
        self.clock.advance(0.125)
        self.assertEqual(self.observer.reasons, [CloseReason.BAD_PROXY_HEADER] * 50)
        self.check_clean_end()

    def test_only_a_trusted_proxy_may_connect(self) -> None:
        factory = self.factory(proxies=AccessList(("203.0.113.2",)))
        self.assertIsNone(self.proxied(b"", factory))
        self.assertEqual(self.observer.reasons, [CloseReason.NOT_ALLOWED])
        self.assertEqual(self.observer.summaries[0].peer, HostPort("203.0.113.1", 9))
        self.check_clean_end()

    def test_a_header_that_arrived_during_a_pause_of_the_process_is_read_first(self) -> None:
        """The grace ends before the reactor reads again; the header is then read in the next turn."""
        factory = self.factory(per_host=1)
        first, second = self.proxied(b"", factory), self.proxied(b"", factory)
        assert first is not None
        assert second is not None
        self.clock.callLater(HEADER_GRACE, first.receive, self.header("192.0.2.1"))
        self.clock.callLater(HEADER_GRACE, second.receive, self.header("192.0.2.2"))
        self.clock.advance(HEADER_GRACE)
        self.assertEqual((self.observer.reasons, len(self.connections)), ([], 2))
        self.clock.advance(30)
        self.assertEqual(self.observer.reasons, [CloseReason.TIMEOUT] * 2)
        self.check_clean_end()

    def test_the_header_has_no_more_time_than_a_record(self) -> None:
        self.rules = replace(RULES, timeout=HEADER_GRACE)
        self.proxied(b"PROXY ")
        self.clock.advance(HEADER_GRACE)
        self.assertEqual(self.observer.reasons, [CloseReason.BAD_PROXY_HEADER])
        self.check_clean_end()

    def test_a_drain_waits_for_the_record_after_the_header(self) -> None:
        transport = self.proxied(self.header("192.0.2.1")[:10])
        drained = self.connections.drain()
        assert transport is not None
        transport.receive(self.header("192.0.2.1")[10:])
        self.assertNoResult(drained)
        transport.receive(RECORD)
        transport.fin()
        self.assertEqual(transport.value(), RECORD)
        self.successResultOf(drained)
        self.check_clean_end()

    def test_a_connection_is_cut_before_its_header_is_complete(self) -> None:
        self.proxied(b"PROXY ")
        drained = self.connections.drain()
        self.connections.cut()
        self.successResultOf(drained)
        self.assertEqual(self.observer.reasons, [CloseReason.CUT])
        self.check_clean_end()
