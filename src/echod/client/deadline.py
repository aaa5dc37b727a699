"""Clock sources, and the time limit of one record."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Clocks", "Deadline", "microseconds"]


@dataclass(frozen=True, slots=True)
class Clocks:
    """Clock sources."""

    now: Callable[[], float] = time.monotonic
    """Seconds on a monotonic clock, for durations."""
    wall: Callable[[], float] = time.time
    """Seconds since 1970, UTC, for timestamps."""


class Deadline:
    """A time limit in seconds that can be held, so that a deliberate wait does not count."""

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[], None]) -> None:
        """`expired` is called once the time has run out while the deadline is running. It is not running yet."""
        self._clock = clock
        self._expired = expired
        self._left = max(seconds, 0.0)
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Start the time, all of which is left."""
        self.resume()

    def hold(self) -> None:
        """Stop, and keep the time that is left: none if it has run out and the reactor was too busy to say so."""
        if self._call is not None and self._call.active():
            self._left = max(self._call.getTime() - self._clock.seconds(), 0.0)
            self._call.cancel()

    def resume(self) -> None:
        """Go on after `hold`, with the time that was left."""
        self._call = self._clock.callLater(self._left, self._expired)

    def cancel(self) -> None:
        """Stop for good."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None


def microseconds(start: float | None, end: float | None) -> int | None:
    """Return the time between two readings of a clock in seconds, in microseconds; None if one of them is None."""
    return None if start is None or end is None else round((end - start) * 1e6)
