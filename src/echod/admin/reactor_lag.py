"""Reactor lag: how late a call runs that is due every second."""

from bisect import bisect_left
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from echod.admin.metric_family import BucketCounts

__all__ = ["INTERVAL", "ReactorLag"]

INTERVAL = 1.0
"""Seconds between two ticks."""

LAG_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Histogram buckets for the lag, in seconds. epoll_wait(2) sleeps whole milliseconds: up to the third is no lag."""


class ReactorLag(Service):
    """Calls `on_tick` once a second and counts how late each tick is: a client may have waited as long.

    Not a TimerService: its LoopingCall does not pass the due time on, and ends with the first exception.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.on_tick: Callable[[], None] = lambda: None
        self.latest = 0.0
        """Lag of the last tick, in seconds."""
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._due = 0.0
        self._counts = [0] * (len(LAG_BOUNDS) + 1)
        self._total = 0.0

    @property
    def lags(self) -> BucketCounts:
        """The lags of all ticks."""
        return BucketCounts(LAG_BOUNDS, tuple(self._counts), self._total)

    def startService(self) -> None:
        """Schedule the first tick, one interval from now."""
        super().startService()
        self._schedule()

    def stopService(self) -> None:
        """Cancel the next tick."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _schedule(self) -> None:
        self._due = self._clock.seconds() + INTERVAL
        self._next = self._clock.callLater(INTERVAL, self._tick)

    def _tick(self) -> None:
        self.latest = max(0.0, self._clock.seconds() - self._due)
        self._counts[bisect_left(LAG_BOUNDS, self.latest)] += 1
        self._total += self.latest
        self._schedule()  # before the call, which may raise
        self.on_tick()
