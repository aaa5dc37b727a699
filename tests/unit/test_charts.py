from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.cli.charts import ASCII, UNICODE, bins
from echod.common.histogram import HIGHEST, LOWEST, Histogram

TIMES = st.lists(st.integers(LOWEST, HIGHEST), min_size=1, max_size=200)


def of(times: list[int]) -> Histogram:
    made = Histogram()
    for time in times:
        made.record(time)
    return made


class SparklineTests(SynchronousTestCase):
    def test_scaled_from_the_smallest_to_the_largest(self) -> None:
        self.assertEqual(UNICODE.sparkline([1, 2, 3, 4, 5, 6, 7, 8]), "▁▂▃▄▅▆▇█")
        self.assertEqual(ASCII.sparkline([10, None, 70]), "_x#")
        self.assertEqual(ASCII.sparkline([70, 60, 50, 40, 30, 20, 10]), "#*+=-._")
        self.assertEqual(UNICODE.sparkline([0, 100, 49, 51, 7, 8]), "▁█▄▅▁▂")

    def test_equal_and_missing_values(self) -> None:
        self.assertEqual(UNICODE.sparkline([5, 5]), "▁▁")
        self.assertEqual(UNICODE.sparkline([]), "")
        self.assertEqual(UNICODE.sparkline([None]), UNICODE.missing)


class BarTests(SynchronousTestCase):
    def test_parts_of_a_cell(self) -> None:
        self.assertEqual([UNICODE.bar(share, 2) for share in (0, 0.5, 0.75, 1)], ["", "█", "█▌", "██"])
        self.assertEqual([ASCII.bar(share, 4) for share in (0, 0.5, 1)], ["", "##", "####"])

    def test_a_share_above_0_is_visible(self) -> None:
        self.assertEqual((UNICODE.bar(1e-9, 10), ASCII.bar(1e-9, 10)), ("▏", "#"))

    @given(st.floats(0, 1), st.integers(1, 100))
    def test_it_is_never_too_wide(self, share: float, width: int) -> None:
        for marks in (UNICODE, ASCII):
            self.assertLessEqual(len(marks.bar(share, width)), width)


class BinsTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(TIMES)
    def test_every_time_is_in_a_bin(self, times: list[int]) -> None:
        found = bins(of(times), 8)
        self.assertEqual(sum(each.count for each in found), len(times))
        self.assertEqual(found[0].low, min(times))
        self.assertAlmostEqual(found[-1].high / max(times), 1)
        for one, next_ in pairwise(found):
            self.assertEqual(one.high, next_.low)

    def test_each_bin_is_wider_by_the_same_factor(self) -> None:
        found = bins(of([100, 150, 199, 250, 399, 1600]), 4)
        self.assertEqual([round(each.low) for each in found], [100, 200, 400, 800])
        self.assertEqual([each.count for each in found], [3, 2, 0, 1])

    def test_times_close_together_are_in_one_bin(self) -> None:
        for times, most, number in (([10, 17], 8, 1), ([10, 18], 8, 8), ([10, 12], 2, 2), ([10, 11], 2, 1)):
            self.assertEqual(len(bins(of(times), most)), number, times)
        (one,) = bins(of([10, 17, 17]), 8)
        self.assertEqual((one.low, one.count), (10, 3))
        self.assertAlmostEqual(one.high, 17)

    def test_a_time_on_a_bound_belongs_to_the_next_bin(self) -> None:
        found = bins(of([1000, 2000, 2001, 4001, 8000]), 3)
        self.assertEqual([each.count for each in found], [1, 2, 2])

    def test_equal_times(self) -> None:
        self.assertEqual([(each.low, each.high, each.count) for each in bins(of([500] * 3), 8)], [(500, 500, 3)])
