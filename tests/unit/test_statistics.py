from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.core.statistics import Distribution, Tally, percentile


class PercentileTests(SynchronousTestCase):
    def test_nearest_rank(self) -> None:
        # The worked example of the nearest-rank method: 15, 20, 35, 40, 50.
        samples = [15.0, 20.0, 35.0, 40.0, 50.0]
        self.assertEqual([percentile(samples, p) for p in (5, 30, 40, 50, 100)], [15, 20, 20, 35, 50])

    def test_p99_of_a_hundred(self) -> None:
        self.assertEqual(percentile([float(n) for n in range(1, 101)], 99), 99)

    @given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted), st.floats(0.1, 100))
    def test_it_is_a_sample_with_the_asked_share_at_or_below(self, samples: list[float], percent: float) -> None:
        value = percentile(samples, percent)
        self.assertIn(value, samples)
        self.assertGreaterEqual(100 * sum(s <= value for s in samples) / len(samples), percent - 1e-9)


class DistributionTests(SynchronousTestCase):
    def test_none_of_nothing(self) -> None:
        self.assertIsNone(Distribution.of([]))

    def test_order_does_not_matter(self) -> None:
        self.assertEqual(Distribution.of([3.0, 1.0, 2.0]), Distribution(1.0, 2.0, 3.0, 3.0))


class TallyTests(SynchronousTestCase):
    def tally(self, sent: int, echoed: int, lost: int) -> Tally:
        return Tally(sent=sent, echoed=echoed, lost=lost, elapsed=1.0, round_trips=None)

    def test_what_is_under_way_is_neither(self) -> None:
        tally = self.tally(5, 3, 1)
        self.assertEqual((tally.unfinished, tally.lost_percent), (1, 25.0))

    def test_all_echoed(self) -> None:
        self.assertTrue(self.tally(2, 1, 0).all_echoed)
        self.assertFalse(self.tally(2, 1, 1).all_echoed)
        self.assertFalse(self.tally(1, 0, 0).all_echoed)

    def test_nothing_ended(self) -> None:
        self.assertEqual(self.tally(1, 0, 0).lost_percent, 0.0)
