"""A run of many probes on a schedule."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from echod.client.outcomes import ProbeResult
from echod.ping.statistics import Distribution, Tally

__all__ = ["Beats", "ProbeRun", "Told"]

Told = Callable[[ProbeResult], None]
"""Is called with each result."""


class Beats(Protocol):
    """Sends out what belongs to one sequence number of a run."""

    def beat(self, sequence: int, told: Told) -> "Deferred[None]":
        """Do so; tell of each result. Fires when all of them have ended, and can be cancelled."""

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        """End what is kept between the beats; return what fires when it is over."""


class ProbeRun:
    """Starts a probe every `interval` seconds, whether or not the one before has ended, as ping(8) does.

    So a path that loses records is probed as often as one that does not, and the share of
    the lost is true. With an interval of 0 each probe starts when the one before has ended.
    """

    def __init__(
        self,
        clock: IReactorTime,
        beats: Beats,
        *,
        interval: float,
        count: int | None,
        told: Told,
        deadline: float | None = None,
    ) -> None:
        """`count` is how many sequence numbers there are, `deadline` after how many seconds the run is interrupted.

        None of either: no end. `told` is called with the result of each probe that ends.
        """
        self._clock = clock
        self._beats = beats
        self._interval = interval
        self._count = count
        self._told = told
        self._deadline = deadline
        self._sequence = 0
        self._echoed = 0
        self._lost = 0
        self._round_trips: list[float] = []
        self._under_way: set[Deferred[None]] = set()
        self._timer: IDelayedCall | None = None
        self._last_call: IDelayedCall | None = None
        self._over = False
        self._done: Deferred[Tally] = Deferred()

    def start(self) -> "Deferred[Tally]":
        """Start the first probe now. The Deferred fires when the last has ended, or at `interrupt`."""
        self._started_at = self._due = self._clock.seconds()
        if self._deadline is not None:
            self._last_call = self._clock.callLater(self._deadline, self.interrupt)
        self._next()
        return self._done

    def interrupt(self) -> None:
        """End the run: cancel what is under way, and let the run's Deferred fire with what there is."""
        if not self._over:
            tally = self._tally()
            self._stop()
            self._done.callback(tally)

    @property
    def _all_sent(self) -> bool:
        return self._sequence == self._count

    def _next(self) -> None:
        self._timer = None
        self._sequence += 1
        beating = self._beats.beat(self._sequence, self._ended)
        self._under_way.add(beating)
        if self._interval:
            self._schedule()
        beating.addErrback(self._failed).addBoth(self._settled, beating)

    def _schedule(self) -> None:
        """Arrange for the next probe: on the beat, without making up for beats that were missed."""
        if self._all_sent or self._over:
            return
        now = self._clock.seconds()
        self._due += self._interval
        if self._due < now:
            self._due = now + self._interval
        self._timer = self._clock.callLater(self._due - now, self._next)

    def _ended(self, result: ProbeResult) -> None:
        if result.echoed:
            self._echoed += 1
        else:
            self._lost += 1
        if result.times.echo is not None:
            self._round_trips.append(result.times.echo / 1e6)
        self._told(result)

    def _failed(self, failure: Failure) -> None:
        """A cancelled probe ends in silence; anything else is no probe's outcome, and ends the run."""
        if not failure.check(CancelledError) and not self._over:
            self._stop()
            self._done.errback(failure)

    def _settled(self, _: None, beating: "Deferred[None]") -> None:
        self._under_way.discard(beating)
        if self._all_sent and not self._under_way and not self._over:
            tally = self._tally()
            self._stop_timers()
            self._beats.close().addCallback(lambda _: self._done.callback(tally))
        elif not self._interval:
            self._schedule()

    def _tally(self) -> Tally:
        return Tally(
            sent=self._echoed + self._lost + len(self._under_way),
            echoed=self._echoed,
            lost=self._lost,
            elapsed=self._clock.seconds() - self._started_at,
            round_trips=Distribution.of(self._round_trips),
        )

    def _stop(self) -> None:
        self._stop_timers()
        for beating in tuple(self._under_way):
            beating.cancel()
        self._beats.close(at_once=True)

    def _stop_timers(self) -> None:
        self._over = True
        for call in (self._timer, self._last_call):
            if call is not None and call.active():
                call.cancel()
