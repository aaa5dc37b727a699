from datetime import UTC, datetime

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult, Step
from echod.common.addresses import HostPort
from echod.ping.run import ProbeRun, Told
from echod.ping.statistics import Distribution, Tally

TARGET = HostPort("::1", 3005)
REFUSED = ProbeResult(
    target=TARGET,
    outcome=Outcome.REFUSED,
    step=Step.CONNECT,
    started=datetime.now(UTC),
    times=PhaseTimes(),
    size=250,
)


def echoed(round_trip: int = 1000) -> ProbeResult:
    return ProbeResult(
        target=TARGET,
        outcome=Outcome.ECHOED,
        step=Step.ECHO,
        started=datetime.now(UTC),
        times=PhaseTimes(echo=round_trip),
        size=250,
        received=250,
    )


class MemoryBeats:
    """Beats of one probe each, that end when the test says so."""

    def __init__(self) -> None:
        self.probes: list[Deferred[ProbeResult]] = []
        self.closed: list[bool] = []

    def beat(self, sequence: int, told: Told) -> "Deferred[None]":
        assert sequence == len(self.probes) + 1
        probing: Deferred[ProbeResult] = Deferred()
        self.probes.append(probing)
        return probing.addCallback(told)

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        self.closed.append(at_once)
        return succeed(None)


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.beats = MemoryBeats()
        self.probes = self.beats.probes
        self.told: list[ProbeResult] = []
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def run_of(self, count: int | None, interval: float = 1.0, deadline: float | None = None) -> "Deferred[Tally]":
        self.running = ProbeRun(
            self.clock, self.beats, interval=interval, count=count, deadline=deadline, told=self.told.append
        )
        return self.running.start()

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
        self.assertEqual([result.times.echo for result in self.told], [1000, 2000, 3000])
        self.assertEqual(self.beats.closed, [False])

    def test_it_does_not_wait_for_a_slow_one(self) -> None:
        done = self.run_of(2)
        self.clock.advance(1)
        self.probes[1].callback(echoed())
        self.assertNoResult(done)
        self.probes[0].callback(REFUSED)
        tally = self.successResultOf(done)
        self.assertEqual((tally.sent, tally.echoed, tally.lost), (2, 1, 1))
        self.assertEqual([result.echoed for result in self.told], [True, False])

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
        def told(_: ProbeResult) -> None:
            raise BrokenPipeError

        run = ProbeRun(self.clock, self.beats, interval=1, count=None, told=told)
        done = run.start()
        self.probes[0].callback(echoed())
        self.failureResultOf(done, BrokenPipeError)

    def test_the_deadline_ends_it_whatever_is_under_way(self) -> None:
        done = self.run_of(None, deadline=2.5)
        self.probes[0].callback(echoed())
        self.clock.advance(1)
        self.clock.advance(1.4)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        tally = self.successResultOf(done)
        self.assertEqual((tally.sent, tally.echoed, tally.unfinished, tally.elapsed), (3, 1, 2, 2.5))
        self.assertEqual(self.beats.closed, [True])

    def test_a_deadline_that_is_not_reached(self) -> None:
        done = self.run_of(1, deadline=9)
        self.probes[0].callback(echoed())
        self.assertEqual(self.successResultOf(done).echoed, 1)
