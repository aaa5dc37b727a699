from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.core.outcomes import ProbeResult
from echod.core.statistics import Distribution, Tally
from echod.probe.run import ProbeRun
from tests.support.results import echoed, lost

REFUSED = lost()


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.probes: list[Deferred[ProbeResult]] = []
        self.told: list[tuple[int, ProbeResult]] = []
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def run_of(self, count: int | None, interval: float = 1.0) -> "Deferred[Tally]":
        self.running = ProbeRun(
            self.clock,
            self.start_probe,
            interval=interval,
            count=count,
            told=lambda sequence, result: self.told.append((sequence, result)),
        )
        return self.running.start()

    def start_probe(self) -> "Deferred[ProbeResult]":
        probing: Deferred[ProbeResult] = Deferred()
        self.probes.append(probing)
        return probing

    def test_a_probe_each_interval(self) -> None:
        done = self.run_of(3)
        for n in range(3):
            self.assertEqual(len(self.probes), n + 1)
            self.probes[n].callback(echoed(1000 * (n + 1)))
            if n < 2:
                self.clock.advance(1)
        tally = self.successResultOf(done)
        self.assertEqual((tally.sent, tally.echoed, tally.lost, tally.elapsed), (3, 3, 0, 2.0))
        self.assertEqual(tally.round_trips, Distribution(0.001, 0.002, 0.003, 0.003))
        self.assertEqual([sequence for sequence, _ in self.told], [1, 2, 3])

    def test_it_does_not_wait_for_a_slow_one(self) -> None:
        done = self.run_of(2)
        self.clock.advance(1)
        self.probes[1].callback(echoed())
        self.assertNoResult(done)
        self.probes[0].callback(REFUSED)
        tally = self.successResultOf(done)
        self.assertEqual((tally.sent, tally.echoed, tally.lost), (2, 1, 1))
        self.assertEqual([sequence for sequence, _ in self.told], [2, 1])

    def test_beats_that_were_missed_are_not_made_up_for(self) -> None:
        done = self.run_of(10)
        self.clock.rightNow += 7.5  # the process was stopped
        self.clock.advance(0)
        self.assertEqual(len(self.probes), 2)
        self.clock.advance(0.9)
        self.assertEqual(len(self.probes), 2)
        self.clock.advance(0.1)
        self.assertEqual(len(self.probes), 3)
        self.running.interrupt()
        self.successResultOf(done)

    def test_the_beat_does_not_drift(self) -> None:
        done = self.run_of(None)
        self.clock.advance(1.25)  # the timer is late
        self.clock.advance(0.75)
        self.assertEqual(len(self.probes), 3)
        self.running.interrupt()
        self.successResultOf(done)

    def test_an_interval_of_zero_is_one_after_the_other(self) -> None:
        done = self.run_of(2, interval=0)
        self.clock.advance(10)
        self.assertEqual(len(self.probes), 1)
        self.probes[0].callback(echoed())
        self.clock.advance(0)
        self.probes[1].callback(echoed())
        self.assertEqual(self.successResultOf(done).echoed, 2)

    def test_an_interrupt_tells_what_there_is(self) -> None:
        done = self.run_of(None)
        self.probes[0].callback(echoed())
        self.clock.advance(1)
        self.running.interrupt()
        tally = self.successResultOf(done)
        self.assertEqual((tally.sent, tally.echoed, tally.lost, tally.unfinished), (2, 1, 0, 1))
        self.running.interrupt()

    def test_an_interrupt_with_an_interval_of_zero(self) -> None:
        done = self.run_of(None, interval=0)
        self.running.interrupt()
        self.assertEqual(self.successResultOf(done).unfinished, 1)

    def test_what_is_no_outcome_ends_the_run(self) -> None:
        done = self.run_of(None)
        self.clock.advance(1)
        self.probes[0].errback(ZeroDivisionError())
        self.failureResultOf(done, ZeroDivisionError)
        self.probes[1].addErrback(lambda _: None)

    def test_one_who_cannot_be_told_ends_the_run(self) -> None:
        def told(_: int, __: ProbeResult) -> None:
            raise BrokenPipeError

        run = ProbeRun(self.clock, self.start_probe, interval=1, count=None, told=told)
        done = run.start()
        self.probes[0].callback(echoed())
        self.failureResultOf(done, BrokenPipeError)
