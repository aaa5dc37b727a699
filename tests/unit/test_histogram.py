from math import ceil
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.common.histogram import HIGHEST, LOWEST, Histogram

TIMES = st.lists(st.integers(LOWEST, HIGHEST), min_size=1, max_size=200)
PERCENTS = (0.1, 1, 50, 90, 95, 99, 99.9, 100)


def nearest_rank(ordered: list[int], percent: float) -> int:
    return ordered[ceil(len(ordered) * percent / 100) - 1]


def of(times: list[int]) -> Histogram:
    made = Histogram()
    for time in times:
        made.record(time)
    return made


class HistogramTests(SynchronousTestCase):
    @settings(max_examples=40, deadline=None)
    @given(TIMES)
    def test_percentiles_are_the_exact_ones_to_three_digits(self, times: list[int]) -> None:
        made = of(times)
        exact = [nearest_rank(sorted(times), percent) for percent in PERCENTS]
        for found, should in zip(made.percentiles(PERCENTS), exact, strict=True):
            self.assertGreaterEqual(found, should)
            self.assertLessEqual(found, should * 1.001)
        self.assertEqual((made.minimum, made.maximum), (min(times), max(times)))
        self.assertAlmostEqual(made.mean, sum(times) / len(times))

    def test_a_rank_is_never_rounded_down(self) -> None:
        # Of 60, p99 is the largest: 59.4 of them lie at or below it.
        self.assertEqual(of([*range(1, 60), 1000]).percentile(99), 1000)
        for size in range(1, 300):
            self.assertEqual(of(list(range(1, size + 1))).percentile(99), ceil(size * 99 / 100), size)

    @settings(max_examples=40, deadline=None)
    @given(TIMES)
    def test_every_time_is_counted(self, times: list[int]) -> None:
        made = of(times)
        pairs = list(made)
        self.assertEqual(sum(count for _, count in pairs), len(times))
        self.assertEqual(made.count, len(times))
        self.assertEqual(pairs, sorted(pairs))

    def test_what_is_out_of_range_is_counted_at_its_end(self) -> None:
        made = of([-5, 0, HIGHEST + 1, 10**12])
        self.assertEqual((made.count, made.minimum, made.maximum), (4, LOWEST, HIGHEST))
        self.assertEqual([count for _, count in made], [2, 2])
        self.assertEqual(list(made)[-1][0], HIGHEST)

    @settings(max_examples=20, deadline=None)
    @given(TIMES, TIMES)
    def test_merged_it_is_that_of_all(self, some: list[int], others: list[int]) -> None:
        merged, together = of(some), of(some + others)
        merged.merge(of(others))
        self.assertEqual(list(merged), list(together))
        self.assertEqual(merged.percentiles(PERCENTS), together.percentiles(PERCENTS))
        self.assertEqual((merged.minimum, merged.maximum), (together.minimum, together.maximum))
        self.assertAlmostEqual(merged.mean, together.mean)

    def test_merging_nothing_changes_nothing(self) -> None:
        made = of([5])
        made.merge(Histogram())
        self.assertEqual((made.count, made.minimum, made.maximum), (1, 5, 5))

    @settings(max_examples=20, deadline=None)
    @given(TIMES)
    def test_through_base64_and_back(self, times: list[int]) -> None:
        made = of(times)
        text = made.encode()
        self.assertTrue(text.isascii() and text.isprintable())
        again = Histogram.decode(text)
        self.assertEqual(again.count, made.count)
        for found, should in zip(again.percentiles(PERCENTS), made.percentiles(PERCENTS), strict=True):
            self.assertLessEqual(abs(found - should), should * 0.001)
        self.assertLessEqual(abs(again.mean - made.mean), made.mean * 0.001 + 0.5)
        again.merge(made)
        self.assertEqual(again.count, 2 * made.count)

    def test_an_empty_one_through_base64(self) -> None:
        self.assertEqual(Histogram.decode(Histogram().encode()).count, 0)

    def test_what_is_no_histogram(self) -> None:
        good = of([5, 500]).encode()
        for text in ("", "x", "AAAA", "é", good[:-10], "XXXXFAAAA" + good[9:], good[:12] + "AAAAAAAA" + good[20:]):
            with self.assertRaises(ValueError, msg=text):
                Histogram.decode(text)

    def test_of_nothing_there_is_nothing_to_say(self) -> None:
        empty = Histogram()
        asked: list[Any] = [lambda: empty.minimum, lambda: empty.maximum, lambda: empty.mean]
        for ask in (*asked, lambda: empty.percentile(50)):
            with self.assertRaises(ValueError):
                ask()
        self.assertEqual((empty.count, list(empty)), (0, []))
