"""A run of many probes on a schedule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from echod.client.outcomes import ProbeResult

__all__ = ["OnResult", "ProbeRun", "RunSummary", "TickProber"]

OnResult = Callable[[ProbeResult], None]
"""Is called with each result."""


class TickProber(Protocol):
    """Sends the probes of one tick of a run."""

    def tick(self, sequence: int, on_result: OnResult) -> "Deferred[None]":
        """Send the probes of this sequence number, from 1 up; call `on_result` with the result of each.

        The Deferred fires when all of them have ended. It can be cancelled.
        """

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        """Close the connections that are kept between ticks. The Deferred fires when they are closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The counts of a run of probes."""

    sent: int
    """Probes started."""
    echoed: int
    lost: int
    """Probes that ended with another outcome than an echo."""
    unfinished: int
    """Probes under way when the run was interrupted: neither echoed nor lost."""
    elapsed: float
    """Seconds from the first probe's start to the end of the run."""


class ProbeRun:
    """Starts a tick every `interval` seconds, whether or not the one before has ended, as ping(8) does.

    A path that loses records is probed as often as one that does not, so the share of lost probes is not biased. With
    an interval of 0, each tick starts when the one before has ended.
    """

    def __init__(
        self,
        clock: IReactorTime,
        prober: TickProber,
        *,
        interval: float,
        count: int | None,
        on_result: OnResult,
        deadline: float | None = None,
    ) -> None:
        """`count` is the number of ticks; the run is interrupted `deadline` seconds after its start.

        None: no limit. `on_result` is called with the result of each probe that ends.
        """
        self._clock = clock
        self._prober = prober
        self._interval = interval
        self._count = count
        self._on_result = on_result
        self._deadline = deadline
        self._sequence = 0
        self._echoed = 0
        self._lost = 0
        self._under_way: set[Deferred[None]] = set()
        self._next_tick: IDelayedCall | None = None
        self._interruption: IDelayedCall | None = None
        self._over = False
        self._done: Deferred[RunSummary] = Deferred()

    def start(self) -> "Deferred[RunSummary]":
        """Start the first tick now. The Deferred fires when the last has ended, or on `interrupt`."""
        self._started_at = self._due = self._clock.seconds()
        if self._deadline is not None:
            self._interruption = self._clock.callLater(self._deadline, self.interrupt)
        self._tick()
        return self._done

    def interrupt(self) -> None:
        """End the run: cancel the probes under way, and fire the Deferred of `start` with the counts so far."""
        if not self._over:
            summary = self._summary()
            self._stop()
            self._done.callback(summary)

    @property
    def _all_sent(self) -> bool:
        return self._sequence == self._count

    def _tick(self) -> None:
        self._next_tick = None
        self._sequence += 1
        ticking = self._prober.tick(self._sequence, self._count_result)
        self._under_way.add(ticking)
        if self._interval:
            self._schedule()
        ticking.addErrback(self._tick_failed).addBoth(self._tick_ended, ticking)

    def _schedule(self) -> None:
        """Schedule the next tick, an interval after the last was due. Missed ticks are not made up for."""
        if self._all_sent or self._over:
            return
        now = self._clock.seconds()
        self._due += self._interval
        if self._due < now:
            self._due = now + self._interval
        self._next_tick = self._clock.callLater(self._due - now, self._tick)

    def _count_result(self, result: ProbeResult) -> None:
        if result.echoed:
            self._echoed += 1
        else:
            self._lost += 1
        self._on_result(result)

    def _tick_failed(self, failure: Failure) -> None:
        """Ignore a cancelled tick. Any other failure is a programming or output error, and ends the run."""
        if not failure.check(CancelledError) and not self._over:
            self._stop()
            self._done.errback(failure)

    def _tick_ended(self, _: None, ticking: "Deferred[None]") -> None:
        self._under_way.discard(ticking)
        if self._all_sent and not self._under_way and not self._over:
            summary = self._summary()
            self._stop_timers()
            self._prober.close().addCallback(lambda _: self._done.callback(summary))
        elif not self._interval:
            self._schedule()

    def _summary(self) -> RunSummary:
        return RunSummary(
            sent=self._echoed + self._lost + len(self._under_way),
            echoed=self._echoed,
            lost=self._lost,
            unfinished=len(self._under_way),
            elapsed=self._clock.seconds() - self._started_at,
        )

    def _stop(self) -> None:
        self._stop_timers()
        for ticking in tuple(self._under_way):
            ticking.cancel()
        self._prober.close(at_once=True)

    def _stop_timers(self) -> None:
        self._over = True
        for call in (self._next_tick, self._interruption):
            if call is not None and call.active():
                call.cancel()
