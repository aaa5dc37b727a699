"""How late the reactor is: a call that is due every second, and by how much it misses."""

from bisect import bisect_left
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from echod.admin.totals import Counts

__all__ = ["INTERVAL", "Pulse"]

INTERVAL = 1.0
"""Seconds from one beat to the next."""

LAG_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds. epoll_wait(2) sleeps whole milliseconds: up to the third of these, a reactor is not late."""


class Pulse:
    """Beats once a second, and counts how late each beat was: for so long a client may have waited too."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._beat: Callable[[], None] = lambda: None
        self._next: IDelayedCall | None = None
        self._due = 0.0
        self._counts = [0] * (len(LAG_BOUNDS) + 1)
        self._total = 0.0
        self.latest = 0.0
        """How late the last beat was, in seconds."""

    @property
    def lag(self) -> Counts:
        """How late the beats were, in seconds."""
        return Counts(LAG_BOUNDS, tuple(self._counts), self._total)

    def start(self, beat: Callable[[], None]) -> None:
        """Begin to beat: `beat` is called each time."""
        self._beat = beat
        self._wait()

    def stop(self) -> None:
        """Beat no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _wait(self) -> None:
        self._due = self._clock.seconds() + INTERVAL
        self._next = self._clock.callLater(INTERVAL, self._now)

    def _now(self) -> None:
        self.latest = max(0.0, self._clock.seconds() - self._due)
        self._counts[bisect_left(LAG_BOUNDS, self.latest)] += 1
        self._total += self.latest
        self._wait()
        self._beat()
