from collections.abc import Callable
from math import ceil

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
        exact = [sorted(times)[ceil(len(times) * percent / 100) - 1] for percent in PERCENTS]
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

    def test_the_range_is_from_1_us_to_60_s(self) -> None:
        self.assertEqual((LOWEST, HIGHEST), (1, 60_000_000))

    def test_times_out_of_range_are_counted_at_the_bounds(self) -> None:
        made = of([-5, 0, HIGHEST + 1, 10**12])
        self.assertEqual((made.count, made.minimum, made.maximum), (4, LOWEST, HIGHEST))
        self.assertEqual([count for _, count in made], [2, 2])
        self.assertEqual(list(made)[-1][0], HIGHEST)

    def test_equal_times_are_recorded_by_their_count(self) -> None:
        made = Histogram()
        made.record(10, 3)
        made.record(50)
        self.assertEqual((made.count, made.mean, list(made)), (4, 20.0, [(10, 3), (50, 1)]))

    def test_a_percentile_stays_within_the_recorded_times(self) -> None:
        # In the package's counts, 4100 stands for 4100 to 4103, and a percentile of it is 4103.
        made = of([4100])
        self.assertEqual((made.percentile(50), list(made)), (4100, [(4100, 1)]))
        self.assertEqual(of([4100, 5000]).percentile(50), 4103)

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
        self.assertLessEqual(abs(again.minimum - made.minimum), made.minimum * 0.001)
        self.assertLessEqual(abs(again.maximum - made.maximum), made.maximum * 0.001)

    def test_what_was_decoded_can_be_added_to(self) -> None:
        again = Histogram.decode(of([5, 7]).encode())
        self.assertEqual((again.count, again.minimum, again.maximum, again.mean), (2, 5, 7, 6.0))
        again.record(1)
        self.assertEqual((again.count, again.minimum, again.maximum), (3, 1, 7))

    def test_the_largest_time_through_base64_and_back(self) -> None:
        self.assertEqual(Histogram.decode(of([HIGHEST]).encode()).maximum, HIGHEST)

    def test_an_empty_one_through_base64(self) -> None:
        self.assertEqual(Histogram.decode(Histogram().encode()).count, 0)

    def test_text_that_is_not_a_histogram(self) -> None:
        good = of([5, 500]).encode()
        for text in ("", "x", "AAAA", "é", good[:-10], "XXXXFAAAA" + good[9:], good[:12] + "AAAAAAAA" + good[20:]):
            with self.assertRaises(ValueError, msg=text) as refused:
                Histogram.decode(text)
            self.assertTrue(str(refused.exception).startswith("is not a histogram: "), refused.exception)

    def test_an_empty_one_has_no_values(self) -> None:
        empty = Histogram()
        read: list[Callable[[], object]] = [
            lambda: empty.minimum,
            lambda: empty.maximum,
            lambda: empty.mean,
            lambda: empty.percentile(50),
            lambda: empty.percentiles((50, 99)),
        ]
        for each in read:
            with self.assertRaises(ValueError) as refused:
                each()
            self.assertEqual(str(refused.exception), "the histogram is empty")
        self.assertEqual((empty.count, list(empty)), (0, []))
