"""A run of many probes on a schedule."""

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from echod.core.outcomes import ProbeResult
from echod.core.statistics import Distribution, Tally

__all__ = ["ProbeRun"]


class ProbeRun:
    """Starts a probe every `interval` seconds, whether or not the one before has ended, as ping(8) does.

    So a path that loses records is probed as often as one that does not, and the share of
    the lost is true. With an interval of 0 each probe starts when the one before has ended.
    """

    def __init__(
        self,
        clock: IReactorTime,
        start_probe: Callable[[], "Deferred[ProbeResult]"],
        *,
        interval: float,
        count: int | None,
        told: Callable[[int, ProbeResult], None],
    ) -> None:
        """`told` is called with the sequence number, from 1 up, and the result of each probe that ends."""
        self._clock = clock
        self._start_probe = start_probe
        self._interval = interval
        self._count = count
        self._told = told
        self._sent = 0
        self._echoed = 0
        self._lost = 0
        self._round_trips: list[float] = []
        self._under_way: set[Deferred[ProbeResult]] = set()
        self._timer: IDelayedCall | None = None
        self._done: Deferred[Tally] = Deferred()

    def start(self) -> "Deferred[Tally]":
        """Start the first probe now. The Deferred fires when the last has ended, or at `interrupt`."""
        self._started_at = self._due = self._clock.seconds()
        self._next()
        return self._done

    def interrupt(self) -> None:
        """End the run: cancel what is under way, and let the run's Deferred fire with what there is."""
        if not self._done.called:
            self._finish()
            self._stop()

    @property
    def _all_sent(self) -> bool:
        return self._sent == self._count

    def _next(self) -> None:
        self._timer = None
        self._sent += 1
        probing = self._start_probe()
        self._under_way.add(probing)
        if self._interval:
            self._schedule()
        probing.addCallback(self._ended, self._sent).addErrback(self._failed).addBoth(self._settled, probing)

    def _schedule(self) -> None:
        """Arrange for the next probe: on the beat, without making up for beats that were missed."""
        if self._all_sent or self._done.called:
            return
        now = self._clock.seconds()
        self._due += self._interval
        if self._due < now:
            self._due = now + self._interval
        self._timer = self._clock.callLater(self._due - now, self._next)

    def _ended(self, result: ProbeResult, sequence: int) -> None:
        if result.echoed:
            self._echoed += 1
        else:
            self._lost += 1
        if result.times.echo is not None:
            self._round_trips.append(result.times.echo / 1_000_000)
        self._told(sequence, result)

    def _failed(self, failure: Failure) -> None:
        """A cancelled probe ends in silence; anything else is no probe's outcome, and ends the run."""
        if not failure.check(CancelledError) and not self._done.called:
            self._done.errback(failure)
            self._stop()

    def _settled(self, _: None, probing: "Deferred[ProbeResult]") -> None:
        self._under_way.discard(probing)
        if self._all_sent and not self._under_way:
            self._finish()
        elif not self._interval:
            self._schedule()

    def _finish(self) -> None:
        if not self._done.called:
            self._done.callback(
                Tally(
                    sent=self._sent,
                    echoed=self._echoed,
                    lost=self._lost,
                    elapsed=self._clock.seconds() - self._started_at,
                    round_trips=Distribution.of(self._round_trips),
                )
            )

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for probing in tuple(self._under_way):
            probing.cancel()
