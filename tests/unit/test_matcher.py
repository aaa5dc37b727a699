"""The matcher, for every fragmentation of the stream."""

import time
from collections.abc import Iterator, Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.client.matcher import Finding, Matcher, Verdict
from echod.client.record import HEADER_SIZE, Record, described, opaque
from echod.common.defaults import LARGEST_RECORD

RUN, OTHER_RUN = 1, 2


def record(sequence: int, size: int = 250, run: int = RUN) -> Record:
    return described(run, sequence, 1_800_000_000_000_000 + sequence, size)


ONE, TWO, THREE = record(1), record(2), record(3)
STRANGER = record(1, run=OTHER_RUN)

Summary = tuple[int, Verdict, int | None, int | None]


def flipped(data: bytes, offset: int, change: int = 1) -> bytes:
    return data[:offset] + bytes([data[offset] ^ change]) + data[offset + 1 :]


def fragmentations(stream: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, in halves, and in random pieces."""
    yield [stream]
    yield [stream[n : n + 1] for n in range(len(stream))]
    yield [stream[: len(stream) // 2], stream[len(stream) // 2 :]]
    random = Random(7)
    for _ in range(10):
        cuts = sorted(random.sample(range(len(stream)), min(6, len(stream))))
        yield [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]


def summaries(findings: Sequence[Finding]) -> list[Summary]:
    return [(each.record.sequence, each.verdict, each.offset, each.other) for each in findings]


class MatcherTestCase(SynchronousTestCase):
    def judged(self, out: Sequence[Record], stream: bytes, *expected: Summary) -> None:
        """Check the findings for `stream`, for every way to cut it."""
        for pieces in fragmentations(stream):
            matcher = Matcher()
            findings = [finding for each in out for finding in matcher.expect(each)]
            for piece in pieces:
                findings += matcher.feed(piece, 1.0)
            self.assertEqual(summaries(findings), list(expected), [len(piece) for piece in pieces])


class InOrderTests(MatcherTestCase):
    def test_echoed(self) -> None:
        self.judged([ONE], ONE.data, (1, Verdict.ECHOED, None, None))

    def test_one_after_the_other(self) -> None:
        echoes = [(n, Verdict.ECHOED, None, None) for n in (1, 2, 3)]
        self.judged([ONE, TWO, THREE], ONE.data + TWO.data + THREE.data, *echoes)

    def test_sizes_may_differ(self) -> None:
        out = [record(1, 40), record(2, 9), record(3, 1000)]
        stream = b"".join(each.data for each in out)
        self.judged(out, stream, *((n, Verdict.ECHOED, None, None) for n in (1, 2, 3)))

    def test_a_part_is_no_verdict(self) -> None:
        self.judged([ONE, TWO], ONE.data[:249])
        matcher = Matcher()
        matcher.expect(ONE)
        matcher.expect(TWO)
        matcher.feed(ONE.data[:100], 1.0)
        matcher.feed(ONE.data[100:200], 2.0)
        self.assertEqual((matcher.received(ONE), matcher.began(ONE), matcher.difference(ONE)), (200, 1.0, None))
        self.assertEqual((matcher.received(TWO), matcher.began(TWO)), (0, None))

    def test_the_time_of_the_first_byte(self) -> None:
        matcher = Matcher()
        matcher.expect(ONE)
        matcher.expect(TWO)
        matcher.feed(ONE.data[:9], 1.0)
        found = matcher.feed(ONE.data[9:] + TWO.data[:1], 2.0) + matcher.feed(TWO.data[1:], 3.0)
        self.assertEqual([each.began for each in found], [1.0, 2.0])


class CorruptTests(MatcherTestCase):
    @given(st.integers(0, 249), st.integers(1, 255))
    def test_a_changed_byte_anywhere(self, offset: int, change: int) -> None:
        self.judged([ONE], flipped(ONE.data, offset, change), (1, Verdict.CORRUPT, offset, None))

    @given(st.integers(0, 249), st.integers(0, 7))
    def test_a_flipped_bit_never_makes_another_runs_record(self, offset: int, bit: int) -> None:
        """Also with another record out, for which it could be mistaken."""
        stream = flipped(ONE.data, offset, 1 << bit) + TWO.data
        self.judged([ONE, TWO], stream, (1, Verdict.CORRUPT, offset, None), (2, Verdict.ECHOED, None, None))

    @given(st.binary(min_size=40, max_size=600), st.integers(0, 3))
    def test_whatever_comes(self, noise: bytes, seed: int) -> None:
        """Every cut of any stream gives the same findings, and only an echo is ECHOED."""
        results = []
        for pieces in fragmentations(noise):
            matcher = Matcher()
            findings = matcher.expect(ONE) + matcher.expect(opaque(2, bytes([seed]) * 9))
            for piece in pieces:
                findings += matcher.feed(piece, 1.0)
            results.append(summaries(findings))
        self.assertTrue(all(each == results[0] for each in results))
        self.assertNotIn((1, Verdict.ECHOED, None, None), results[0])

    def test_a_record_without_a_header_is_judged_at_the_byte(self) -> None:
        for out in (opaque(1, bytes(250)), record(1, HEADER_SIZE - 1)):
            matcher = Matcher()
            matcher.expect(out)
            self.assertEqual(summaries(matcher.feed(flipped(out.data, 7)[:8], 1.0)), [(1, Verdict.CORRUPT, 7, None)])

    def test_the_first_byte_after_the_header(self) -> None:
        """It is judged at the byte, as those that follow: the header before it is right."""
        matcher = Matcher()
        matcher.expect(ONE)
        (finding,) = matcher.feed(flipped(ONE.data, HEADER_SIZE), 1.0)
        self.assertEqual((finding.verdict, finding.offset, finding.received), (Verdict.CORRUPT, 40, 41))

    def test_a_record_without_a_header_is_not_found_in_the_bytes_of_another(self) -> None:
        small = opaque(2, bytes(9))
        stream = flipped(ONE.data, 100) + small.data
        self.judged([ONE, small], stream, (1, Verdict.CORRUPT, 100, None), (2, Verdict.ECHOED, None, None))

    def test_the_last_byte_of_the_largest_record(self) -> None:
        """As many bytes follow as identify another record that is out: together more than the largest record has."""
        large = record(1, LARGEST_RECORD)
        matcher = Matcher()
        matcher.expect(large)
        matcher.expect(TWO)
        findings = matcher.feed(flipped(large.data, LARGEST_RECORD - 1) + TWO.data, 1.0)
        expected = [(1, Verdict.CORRUPT, LARGEST_RECORD - 1, None), (2, Verdict.ECHOED, None, None)]
        self.assertEqual(summaries(findings), expected)

    def test_a_whole_echo_after_a_part(self) -> None:
        """In reads of their own. The whole echo is not in the record's place: bytes came before it."""
        for before, offset in ((ONE.data[:10], 10), (b"?", 0)):
            matcher = Matcher()
            matcher.expect(ONE)
            findings = matcher.feed(before, 1.0) + matcher.feed(ONE.data, 2.0)
            self.assertEqual(summaries(findings), [(1, Verdict.CORRUPT, offset, None)])

    def test_a_whole_echo_among_bytes_that_are_skipped(self) -> None:
        """A corrupt record whose end is lost takes the beginning of the next one with it."""
        matcher = Matcher()
        matcher.expect(ONE)
        matcher.expect(TWO)
        findings = matcher.feed(flipped(ONE.data, 100)[:200], 1.0) + matcher.feed(TWO.data, 2.0)
        self.assertEqual(summaries(findings), [(1, Verdict.CORRUPT, 100, None), (2, Verdict.CORRUPT, 0, None)])

    def test_progress_before_the_verdict(self) -> None:
        matcher = Matcher()
        matcher.expect(ONE)
        self.assertEqual(matcher.feed(flipped(ONE.data, 5)[:20], 1.0), [])
        self.assertEqual((matcher.difference(ONE), matcher.received(ONE)), (5, 20))


class OthersTests(MatcherTestCase):
    def test_an_earlier_record(self) -> None:
        self.judged([TWO], ONE.data, (2, Verdict.STALE, None, 1))

    def test_after_an_earlier_record_those_that_are_out_may_follow(self) -> None:
        stream = ONE.data + TWO.data + THREE.data
        self.judged([TWO, THREE], stream, (2, Verdict.STALE, None, 1), (3, Verdict.ECHOED, None, None))

    def test_instead_of_it(self) -> None:
        self.judged([TWO, THREE], ONE.data + THREE.data, (2, Verdict.STALE, None, 1), (3, Verdict.ECHOED, None, None))

    def test_the_same_number_made_at_another_time(self) -> None:
        self.judged([ONE], described(RUN, 1, 5, 250).data, (1, Verdict.STALE, None, 1))

    def test_another_runs(self) -> None:
        self.judged([ONE], STRANGER.data, (1, Verdict.FOREIGN, None, None))
        self.judged([ONE], record(1, 40, OTHER_RUN).data, (1, Verdict.FOREIGN, None, None))

    def test_of_any_size(self) -> None:
        stream = record(9, 1000, OTHER_RUN).data + TWO.data
        self.judged([ONE, TWO], stream, (1, Verdict.FOREIGN, None, None), (2, Verdict.ECHOED, None, None))

    def test_reordered(self) -> None:
        self.judged([ONE, TWO], TWO.data + ONE.data, (2, Verdict.REORDERED, None, 1), (1, Verdict.ECHOED, None, None))
        self.judged(
            [ONE, TWO, THREE],
            THREE.data + ONE.data + TWO.data,
            (3, Verdict.REORDERED, None, 1),
            (1, Verdict.ECHOED, None, None),
            (2, Verdict.ECHOED, None, None),
        )

    def test_after_a_reordered_one_the_others_are_expected(self) -> None:
        matcher = Matcher()
        for each in (ONE, TWO, THREE):
            matcher.expect(each)
        findings = matcher.feed(TWO.data + ONE.data + THREE.data, 1.0)
        echoes = [(n, Verdict.ECHOED, None, None) for n in (1, 3)]
        self.assertEqual(summaries(findings), [(2, Verdict.REORDERED, None, 1), *echoes])
        self.assertFalse(matcher.waiting)

    def test_after_a_reordered_one_no_record_is_expected_twice(self) -> None:
        matcher = Matcher()
        matcher.expect(ONE)
        matcher.expect(TWO)
        matcher.feed(TWO.data + ONE.data, 1.0)
        self.assertFalse(matcher.waiting)

    def test_a_reordered_one_is_compared_too(self) -> None:
        stream = flipped(TWO.data, 200) + ONE.data
        self.judged([ONE, TWO], stream, (2, Verdict.CORRUPT, 200, None), (1, Verdict.ECHOED, None, None))

    def test_truncated_and_another_follows(self) -> None:
        for size in (1, 39, 40, 100, 249):
            stream = ONE.data[:size] + TWO.data
            self.judged([ONE, TWO], stream, (1, Verdict.TRUNCATED, size, 2), (2, Verdict.ECHOED, None, None))


class AbandonedTests(MatcherTestCase):
    def test_a_late_echo_is_no_verdict_and_no_harm(self) -> None:
        matcher = Matcher()
        matcher.expect(ONE)
        matcher.expect(TWO)
        matcher.abandon(ONE)
        self.assertEqual(summaries(matcher.feed(ONE.data + TWO.data, 1.0)), [(2, Verdict.ECHOED, None, None)])

    def test_an_abandoned_record_is_not_overtaken(self) -> None:
        matcher = Matcher()
        matcher.expect(ONE)
        matcher.expect(TWO)
        matcher.abandon(ONE)
        self.assertEqual(summaries(matcher.feed(TWO.data, 1.0)), [(2, Verdict.ECHOED, None, None)])


class ExcessTests(MatcherTestCase):
    def test_an_echo_that_came_twice(self) -> None:
        for pieces in fragmentations(ONE.data):
            matcher = Matcher()
            matcher.expect(ONE)
            matcher.feed(ONE.data, 1.0)
            for piece in pieces:
                self.assertEqual(matcher.feed(piece, 1.0), [])
            self.assertTrue(matcher.has_excess)
            self.assertEqual(summaries(matcher.expect(TWO)), [(2, Verdict.STALE, None, 1)])

    def test_an_echo_after_a_corrupt_one(self) -> None:
        matcher = Matcher()
        matcher.expect(ONE)
        findings = matcher.feed(flipped(ONE.data, 100) + ONE.data, 1.0)
        self.assertEqual(summaries(findings), [(1, Verdict.CORRUPT, 100, None)])
        self.assertTrue(matcher.has_excess)
        self.assertEqual(summaries(matcher.expect(TWO)), [(2, Verdict.STALE, None, 1)])

    def test_bytes_read_before_two_records(self) -> None:
        """Both verdicts have the time at which the bytes were read."""
        matcher = Matcher()
        matcher.feed(bytes(500), 3.0)
        findings = matcher.expect(ONE) + matcher.expect(TWO)
        self.assertEqual(summaries(findings), [(n, Verdict.CORRUPT, 0, None) for n in (1, 2)])
        self.assertEqual([each.began for each in findings], [3.0, 3.0])

    def test_an_echo_that_begins_twice(self) -> None:
        matcher = Matcher()
        matcher.expect(ONE)
        self.assertEqual(summaries(matcher.feed(ONE.data + ONE.data[:10], 1.0)), [(1, Verdict.ECHOED, None, None)])
        self.assertEqual(matcher.expect(TWO), [])
        self.assertEqual(summaries(matcher.feed(ONE.data[10:] + TWO.data, 1.0)), [(2, Verdict.STALE, None, 1)])

    def test_bytes_before_any_record_are_no_echo_of_it(self) -> None:
        matcher = Matcher()
        zeros = opaque(1, bytes(250))
        matcher.feed(zeros.data, 1.0)
        self.assertEqual(summaries(matcher.expect(zeros)), [(1, Verdict.CORRUPT, 0, None)])

    def test_they_are_held_within_bounds(self) -> None:
        matcher = Matcher()
        for _ in range(20):
            matcher.feed(bytes(LARGEST_RECORD // 4), 1.0)
        self.assertEqual(len(matcher._held), LARGEST_RECORD)


class CostTests(SynchronousTestCase):
    def test_the_largest_record_in_small_pieces(self) -> None:
        """Twice the bytes, twice the time: were each piece to cost the whole, this would take minutes."""
        large = record(1, LARGEST_RECORD)
        for stream, expected in ((large.data, None), (flipped(large.data, LARGEST_RECORD - 1), LARGEST_RECORD - 1)):
            matcher = Matcher()
            findings = matcher.expect(large)
            began = time.process_time()
            for at in range(0, LARGEST_RECORD, 16):
                findings += matcher.feed(stream[at : at + 16], 1.0)
            self.assertEqual([each.offset for each in findings], [expected])
            self.assertLess(time.process_time() - began, 5)
