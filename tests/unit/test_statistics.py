from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome
from echod.common.assertions import ROUND_TRIP
from echod.ping.statistics import PHASES, Distribution, Statistics, Tally, percentile
from tests.support.results import CORRUPT, FULL, echoed, lost


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


class StatisticsTests(SynchronousTestCase):
    def test_the_phases_are_the_fields_of_a_result(self) -> None:
        self.assertEqual(PHASES, ("resolve", "connect", "tls", "idle", "first_byte", "echo", "close"))
        self.assertIn(ROUND_TRIP, PHASES)

    def test_before_the_first_probe(self) -> None:
        empty = Statistics()
        self.assertEqual((empty.sent, empty.echoed, empty.lost, empty.unfinished), (0, 0, 0, 0))
        self.assertEqual((empty.lost_percent, empty.elapsed, empty.round_trips), (0.0, 0.0, None))

    def test_probes_by_their_outcome(self) -> None:
        run = Statistics()
        for result in (echoed(100), echoed(300), lost(), lost(Outcome.TIMEOUT), lost()):
            run.add(result)
        self.assertEqual((run.sent, run.echoed, run.lost, run.lost_percent), (5, 2, 3, 60.0))
        self.assertEqual(run.outcomes, {Outcome.ECHOED: 2, Outcome.REFUSED: 2, Outcome.TIMEOUT: 1})
        run.finish(sent=7, elapsed=2.5)
        self.assertEqual((run.sent, run.ended, run.unfinished), (7, 5, 2))
        self.assertEqual((run.elapsed, run.lost_percent), (2.5, 60.0))

    def test_each_phase_has_its_histogram(self) -> None:
        run = Statistics()
        run.add(FULL)
        run.add(echoed(100))
        run.add(CORRUPT)
        found = {phase: times.count for phase, times in run.times.items()}
        self.assertEqual(
            found, {"resolve": 1, "connect": 3, "tls": 1, "idle": 1, "first_byte": 2, "echo": 2, "close": 1}
        )
        assert run.round_trips is not None
        self.assertEqual((run.round_trips.minimum, run.round_trips.maximum), (100, 539))
