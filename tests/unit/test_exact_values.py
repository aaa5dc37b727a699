"""Exact texts, types and bounds of pure modules. Each test fails with a mutant that all other tests let live."""

import json
import struct
import zlib
from collections import Counter

from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from echod.client.matcher import Finding, Matcher, Verdict
from echod.client.outcomes import Outcome
from echod.client.record import HEADER_SIZE, Header, Record, described, opaque, read_header
from echod.common.addresses import HostPort, host_port
from echod.common.assertions import ROUND_TRIP, parse_assertion
from echod.common.histogram import Histogram
from echod.common.option_types import Flag, Seconds, SizeRange
from echod.load.schedule import Arrival
from echod.load.search import Search
from echod.load.statistics import LoadStatistics, Slice
from echod.ping.json_objects import summary_object
from echod.ping.statistics import PHASES, Statistics

ONE, TWO = (described(1, sequence, 0, 250) for sequence in (1, 2))


class OptionTypeTests(SynchronousTestCase):
    def test_a_flags_error_shows_the_text(self) -> None:
        with self.assertRaises(ValueError) as raised:
            Flag().from_text("yes")
        self.assertEqual(str(raised.exception), 'must be true or false, not "yes"')

    def test_a_size_ranges_error_shows_the_value(self) -> None:
        for value, shown in ((5, "5"), (range(5, 1), "range(5, 1)"), (range(1, 100), "range(1, 100)")):
            with self.assertRaises(ValueError, msg=value) as raised:
                SizeRange(2, 9).check(value)
            expected = f"must be FIRST:LAST or FIRST:LAST:STEP, from 2 to 9, not {shown}"
            self.assertEqual(str(raised.exception), expected)

    def test_option_types_are_values(self) -> None:
        self.assertEqual(Seconds(), Seconds(zero=False))


class AddressTests(SynchronousTestCase):
    def test_an_address_without_a_port_has_port_0(self) -> None:
        self.assertEqual(host_port(UNIXAddress(None)), HostPort("", 0))


class AssertionTests(SynchronousTestCase):
    def test_a_bound_is_kept_to_the_nanosecond(self) -> None:
        self.assertEqual(parse_assertion("p99<0.12345us", (ROUND_TRIP,)).bound, 0.123)


class RecordTests(SynchronousTestCase):
    def test_a_record_of_any_bytes_has_no_header(self) -> None:
        self.assertIs(opaque(1, bytes(HEADER_SIZE)).described, False)

    def test_another_magic_or_version_is_no_header_even_with_the_right_checksum(self) -> None:
        for magic, version, header in (
            (b"ECHD", 1, Header(2, 3, 4, HEADER_SIZE)),
            (b"ECHX", 1, None),
            (b"ECHD", 2, None),
        ):
            fields = struct.pack("!4sB3xQQQI", magic, version, 2, 3, 4, HEADER_SIZE)
            self.assertEqual(read_header(fields + struct.pack("!I", zlib.crc32(fields))), header)


class MatcherTests(SynchronousTestCase):
    def judged(self, out: tuple[Record, ...], *pieces: bytes) -> list[Finding]:
        """Return the findings for pieces that are read at 5.0, 6.0 and so on."""
        matcher = Matcher()
        findings = [finding for each in out for finding in matcher.expect(each)]
        return findings + [found for n, piece in enumerate(pieces) for found in matcher.feed(piece, 5.0 + n)]

    def test_echoed(self) -> None:
        self.assertEqual(self.judged((ONE,), ONE.data), [Finding(ONE, Verdict.ECHOED, 5.0, 250)])
        pieces = (ONE.data[:100], ONE.data[100:])
        self.assertEqual(self.judged((ONE,), *pieces), [Finding(ONE, Verdict.ECHOED, 5.0, 250)])

    def test_corrupt(self) -> None:
        data = ONE.data[:100] + bytes([ONE.data[100] ^ 1]) + ONE.data[101:]
        finding = Finding(ONE, Verdict.CORRUPT, 5.0, 101, offset=100, beginning=ONE.data[:HEADER_SIZE])
        self.assertEqual(self.judged((ONE,), data), [finding])

    def test_stale_and_foreign(self) -> None:
        stale = Finding(TWO, Verdict.STALE, 5.0, HEADER_SIZE, other=1)
        self.assertEqual(self.judged((TWO,), ONE.data), [stale])
        foreign = Finding(ONE, Verdict.FOREIGN, 5.0, HEADER_SIZE)
        self.assertEqual(self.judged((ONE,), described(2, 1, 3, 250).data), [foreign])

    def test_truncated(self) -> None:
        findings = self.judged((ONE, TWO), ONE.data[:100], TWO.data)
        expected = [Finding(ONE, Verdict.TRUNCATED, 5.0, 100, 100, 2), Finding(TWO, Verdict.ECHOED, 6.0, 250)]
        self.assertEqual(findings, expected)

    def test_reordered(self) -> None:
        findings = self.judged((ONE, TWO), TWO.data, ONE.data)
        expected = [Finding(TWO, Verdict.REORDERED, 5.0, 250, other=1), Finding(ONE, Verdict.ECHOED, 6.0, 250)]
        self.assertEqual(findings, expected)

    def test_bytes_read_before_a_record_is_out(self) -> None:
        matcher = Matcher()
        self.assertEqual((matcher.waiting, matcher.has_excess), (False, False))
        self.assertEqual(matcher.feed(ONE.data[:30], 3.0) + matcher.feed(ONE.data[30:], 4.0), [])
        self.assertTrue(matcher.has_excess)
        self.assertEqual(matcher.expect(TWO), [Finding(TWO, Verdict.STALE, 3.0, 250, other=1)])

    def test_what_is_known_before_a_verdict(self) -> None:
        matcher = Matcher()
        matcher.expect(ONE)
        self.assertTrue(matcher.waiting)
        self.assertEqual((matcher.began(ONE), matcher.difference(ONE), matcher.beginning(ONE)), (None, None, b""))
        matcher.feed(ONE.data[:10], 5.0)
        self.assertEqual((matcher.received(ONE), matcher.began(ONE)), (10, 5.0))
        self.assertEqual((matcher.difference(ONE), matcher.beginning(ONE)), (None, b""))
        matcher.feed(b"xyz", 6.0)
        self.assertEqual((matcher.received(ONE), matcher.began(ONE), matcher.difference(ONE)), (13, 5.0, 10))
        self.assertEqual(matcher.beginning(ONE), ONE.data[:10] + b"xyz")
        self.assertEqual((matcher.received(TWO), matcher.difference(TWO), matcher.beginning(TWO)), (0, None, b""))


class ArrivalTests(SynchronousTestCase):
    def test_the_values_of_the_option(self) -> None:
        self.assertEqual([arrival.value for arrival in Arrival], ["uniform", "poisson"])


class SearchTests(SynchronousTestCase):
    def test_the_rates_tried_are_whole_numbers(self) -> None:
        search = Search(1000)
        tried: list[int] = []
        while not search.over:
            assert len(tried) < 16, tried
            tried.append(search.rate)
            search.record(held=search.rate <= 1001)
        self.assertEqual(tried, [1000, 2000, 1500, 1250, 1125, 1062, 1031])


class LoadStatisticsTests(SynchronousTestCase):
    def test_a_run_is_not_interrupted_at_its_start(self) -> None:
        self.assertIs(LoadStatistics(1).interrupted, False)

    def test_the_rate_before_the_first_interval_is_0(self) -> None:
        statistics = LoadStatistics(2)
        statistics.add(Slice(0, 0.5, outcomes=Counter({Outcome.ECHOED: 10})))
        self.assertEqual((statistics.echoed, statistics.rate), (10, 0.0))


class JSONObjectTests(SynchronousTestCase):
    def test_a_mean_has_one_decimal_place(self) -> None:
        statistics = Statistics()
        times = statistics.times[PHASES[0]] = Histogram()
        for time in (1, 2, 2):
            times.record(time)
        report = json.loads(summary_object(HostPort("192.0.2.1", 3005), statistics, ()))
        self.assertEqual(report["times"][PHASES[0]]["mean"], 1.7)
