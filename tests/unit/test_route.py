import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echod.client.config import ClientConfiguration
from echod.client.outcomes import KernelFacts
from echod.client.route import Family, Route
from echod.client.tcp_info import TCP_INFO_SIZE, read_tcp_info
from echod.common.addresses import HostPort
from echod.common.defaults import LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.common.option_types import SizeRange
from echod.common.options import options_of
from echod.ping.config import PingConfiguration

NAME, V4, V6 = (HostPort(host, 3005) for host in ("echo.example", "192.0.2.1", "2001:db8::1"))


class RouteTests(SynchronousTestCase):
    def test_the_one_family(self) -> None:
        for route, only in (
            (Route(target=NAME), None),
            (Route(target=NAME, family=Family.IPV4), Family.IPV4),
            (Route(target=NAME, source="::1"), Family.IPV6),
            (Route(target=V4, source="127.0.0.1"), Family.IPV4),
            (Route(target=NAME, family=Family.IPV6, source="fe80::1%eth0"), Family.IPV6),
        ):
            self.assertIs(route.only, only)

    def test_the_one_address(self) -> None:
        self.assertIsNone(Route(target=NAME).literal)
        self.assertEqual(Route(target=V4).literal, V4)
        self.assertEqual(Route(target=NAME, address=V6).literal, V6)

    def test_what_does_not_go_together(self) -> None:
        for fields, words in (
            ({"target": V6, "family": Family.IPV4}, "ipv4: 2001:db8::1 is an IPv6 address"),
            ({"target": V4, "family": Family.IPV6}, "ipv6: 192.0.2.1 is an IPv4 address"),
            ({"target": V4, "source": "::1"}, "source: ::1 cannot reach an IPv4 address"),
            ({"target": NAME, "source": "::1", "family": Family.IPV4}, "source: ::1 is not an IPv4 address"),
            ({"target": NAME, "source": "eth0"}, "source: eth0 is not an IPv4 or IPv6 address"),
        ):
            with self.assertRaises(ConfigurationError) as refused:
                Route(**fields)  # type: ignore[arg-type]  # the keys are the names of the fields
            self.assertEqual(str(refused.exception), words)


class SizesTests(SynchronousTestCase):
    def test_ranges(self) -> None:
        sizes = SizeRange(1, LARGEST_RECORD)
        self.assertEqual(list(sizes.from_text("1:3")), [1, 2, 3])
        self.assertEqual(list(sizes.from_text("100:1500:700")), [100, 800, 1500])
        self.assertEqual(list(sizes.from_text("9:9")), [9])

    def test_refused(self) -> None:
        sizes = SizeRange(1, 99)
        for text in ("", "1", "1:", ":9", "9:1", "0:9", "1:100", "1:9:0", "1:9:1:1", "1:9:-1", "a:b", "1.5:9"):
            with self.assertRaises(ValueError, msg=text) as refused:
                sizes.from_text(text)
            self.assertTrue(str(refused.exception).startswith("must be FIRST:LAST or FIRST:LAST:STEP"))
        for value in ("1:9", range(0), range(9, 1, -1), range(1, 200), None):
            with self.assertRaises(ValueError):
                sizes.check(value)

    def test_of_a_run(self) -> None:
        for fields, sizes, probes in (
            (PingConfiguration(), [250], None),
            (PingConfiguration(size=9, count=3), [9], 3),
            (PingConfiguration(sweep=range(1, 4)), [1, 2, 3], 3),
            (PingConfiguration(sweep=range(1, 4), count=2), [1, 2, 3], 6),
        ):
            self.assertEqual((list(fields.sizes), fields.probes), (sizes, probes))


class KernelFactsTests(SynchronousTestCase):
    """Offsets are those of struct tcp_info in linux/tcp.h."""

    def info(self) -> bytes:
        words = {16: 1440, 60: 1500, 68: 25_000, 72: 3_000, 100: 2, 148: 24_000}
        return b"".join(struct.pack("=I", words.get(at, 0xAAAA)) for at in range(0, 248, 4))

    def test_whole(self) -> None:
        facts = KernelFacts(rtt=25_000, rtt_variation=3_000, min_rtt=24_000, retransmits=2, mss=1440, path_mtu=1500)
        self.assertEqual(read_tcp_info(self.info()), facts)
        self.assertEqual(read_tcp_info(self.info()[:TCP_INFO_SIZE]), facts)

    def test_of_an_older_kernel(self) -> None:
        for length in (104, 148, 151):
            facts = read_tcp_info(self.info()[:length])
            assert facts is not None
            self.assertEqual((facts.retransmits, facts.min_rtt), (2, None))
        for length in (0, 1, 103):
            self.assertIsNone(read_tcp_info(self.info()[:length]))

    def test_no_sample_yet(self) -> None:
        info = self.info()[:148] + b"\xff" * 4
        facts = read_tcp_info(info)
        assert facts is not None
        self.assertIsNone(facts.min_rtt)


class ClientConfigurationTests(SynchronousTestCase):
    def refused(self, **options: object) -> str:
        with self.assertRaises(ConfigurationError) as refused:
            PingConfiguration(**options)  # type: ignore[arg-type]  # any values
        return str(refused.exception)

    def test_options_that_cannot_be_combined(self) -> None:
        both = "ipv4: cannot be combined with ipv6; without either, both are used"
        self.assertEqual(self.refused(ipv4=True, ipv6=True), both)
        self.assertEqual(self.refused(ipv4=True, source="::1"), "source: ::1 is not an IPv4 address")
        self.assertEqual(self.refused(ipv6=True, source="192.0.2.1"), "source: 192.0.2.1 is not an IPv6 address")

    def test_a_source_of_the_family(self) -> None:
        cases: tuple[dict[str, Any], ...] = (
            {"ipv4": True, "source": "192.0.2.1"},
            {"ipv6": True, "source": "::1"},
            {"source": "::1"},
        )
        for options in cases:
            made = PingConfiguration(**options)
            self.assertEqual(made.source, options["source"])

    def test_file_options_are_shown_as_such(self) -> None:
        shown = {option.name: option.type.metavar for option in options_of(ClientConfiguration)}
        self.assertEqual({shown[name] for name in ("tls-ca", "tls-certificate", "tls-key")}, {"FILE"})
        self.assertIs(ClientConfiguration().tls, False)
