from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome
from echod.common.assertions import ROUND_TRIP
from echod.ping.statistics import PHASES, Statistics
from tests.support.results import CORRUPT, FULL, echoed, lost


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
