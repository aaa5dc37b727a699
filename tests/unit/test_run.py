import tracemalloc
from datetime import UTC, datetime

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult, Step
from echod.common.addresses import HostPort
from echod.ping.run import OnResult, ProbeRun, RunSummary

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


class MemoryProber:
    """One probe a tick, ended by the test."""

    def __init__(self) -> None:
        self.probes: list[Deferred[ProbeResult]] = []
        self.closed: list[bool] = []

    def tick(self, sequence: int, on_result: OnResult) -> "Deferred[None]":
        assert sequence == len(self.probes) + 1
        probing: Deferred[ProbeResult] = Deferred()
        self.probes.append(probing)
        return probing.addCallback(on_result)

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        self.closed.append(at_once)
        return succeed(None)


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.prober = MemoryProber()
        self.probes = self.prober.probes
        self.results: list[ProbeResult] = []
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def run_of(self, count: int | None, interval: float = 1.0, deadline: float | None = None) -> "Deferred[RunSummary]":
        self.running = ProbeRun(
            self.clock, self.prober, interval=interval, count=count, deadline=deadline, on_result=self.results.append
        )
        return self.running.start()

    def test_a_probe_each_interval(self) -> None:
        done = self.run_of(3)
        for n in range(3):
            self.assertEqual(len(self.probes), n + 1)
            self.probes[n].callback(echoed(1000 * (n + 1)))
            if n < 2:
                self.clock.advance(1)
        summary = self.successResultOf(done)
        self.assertEqual((summary.sent, summary.echoed, summary.lost, summary.elapsed), (3, 3, 0, 2.0))
        self.assertEqual([result.times.echo for result in self.results], [1000, 2000, 3000])
        self.assertEqual(self.prober.closed, [False])

    def test_a_slow_probe_does_not_delay_the_next(self) -> None:
        done = self.run_of(2)
        self.clock.advance(1)
        self.probes[1].callback(echoed())
        self.assertNoResult(done)
        self.probes[0].callback(REFUSED)
        summary = self.successResultOf(done)
        self.assertEqual((summary.sent, summary.echoed, summary.lost), (2, 1, 1))
        self.assertEqual([result.echoed for result in self.results], [True, False])

    def test_missed_ticks_are_not_made_up_for(self) -> None:
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

    def test_ticks_do_not_drift(self) -> None:
        done = self.run_of(None)
        self.clock.advance(1.25)  # the timer is late
        self.clock.advance(0.75)
        self.assertEqual(len(self.probes), 3)
        self.running.interrupt()
        self.successResultOf(done)

    def test_with_an_interval_of_zero_a_tick_starts_when_the_last_has_ended(self) -> None:
        done = self.run_of(2, interval=0)
        self.clock.advance(10)
        self.assertEqual(len(self.probes), 1)
        self.probes[0].callback(echoed())
        self.clock.advance(0)
        self.probes[1].callback(echoed())
        self.assertEqual(self.successResultOf(done).echoed, 2)

    def test_an_interrupt_gives_the_counts_so_far(self) -> None:
        done = self.run_of(None)
        self.probes[0].callback(echoed())
        self.clock.advance(1)
        self.running.interrupt()
        summary = self.successResultOf(done)
        self.assertEqual((summary.sent, summary.echoed, summary.lost, summary.unfinished), (2, 1, 0, 1))
        self.running.interrupt()

    def test_an_interrupt_with_an_interval_of_zero(self) -> None:
        done = self.run_of(None, interval=0)
        self.running.interrupt()
        self.assertEqual(self.successResultOf(done).unfinished, 1)

    def test_an_unexpected_error_ends_the_run(self) -> None:
        done = self.run_of(None)
        self.clock.advance(1)
        self.probes[0].errback(ZeroDivisionError())
        self.failureResultOf(done, ZeroDivisionError)
        self.probes[1].addErrback(lambda _: None)

    def test_an_error_of_on_result_ends_the_run(self) -> None:
        def on_result(_: ProbeResult) -> None:
            raise BrokenPipeError

        run = ProbeRun(self.clock, self.prober, interval=1, count=None, on_result=on_result)
        done = run.start()
        self.probes[0].callback(echoed())
        self.failureResultOf(done, BrokenPipeError)

    def test_the_deadline_interrupts_the_run(self) -> None:
        done = self.run_of(None, deadline=2.5)
        self.probes[0].callback(echoed())
        self.clock.advance(1)
        self.clock.advance(1.4)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        summary = self.successResultOf(done)
        self.assertEqual((summary.sent, summary.echoed, summary.unfinished, summary.elapsed), (3, 1, 2, 2.5))
        self.assertEqual(self.prober.closed, [True])

    def test_a_deadline_that_is_not_reached(self) -> None:
        done = self.run_of(1, deadline=9)
        self.probes[0].callback(echoed())
        self.assertEqual(self.successResultOf(done).echoed, 1)

    def test_it_keeps_no_results(self) -> None:
        done = self.run_of(None, interval=0)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for n in range(2_000):
            if n == 500:
                before, _ = tracemalloc.get_traced_memory()
            self.probes[-1].callback(echoed(1000 + n))
            self.probes[:-1] = [self.probes[-1]] * (len(self.probes) - 1)  # the stand-in counts them, and keeps one
            self.clock.advance(0)
            self.results.clear()
        after, _ = tracemalloc.get_traced_memory()
        self.assertLess(after - before, 1_500 * 20)  # a list of floats takes 32 bytes for each
        self.running.interrupt()
        self.assertEqual(self.successResultOf(done).echoed, 2_000)
