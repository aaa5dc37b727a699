"""The log of refused connections, summed up: a flood of refusals writes one line per interval, not one each."""

from collections import Counter

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from echod.common.text import printable
from echod.server.observer import IConnectionObserver
from echod.server.summary import REFUSALS, CloseReason, ConnectionSummary

__all__ = ["RefusalLog"]

INTERVAL = 10.0
"""Seconds between two sums."""


@implementer(IConnectionObserver)
class RefusalLog:
    """Logs the first refusal at once, then the number of further refusals once per interval until there are none."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._counts: Counter[CloseReason] = Counter()
        self._timer: IDelayedCall | None = None

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Log or count the connection if it was refused."""
        if summary.reason not in REFUSALS:
            return
        if self._timer is None:
            self._log.warn("refused {peer}: {reason}", peer=printable(str(summary.peer)), reason=summary.reason.value)
            self._timer = self._clock.callLater(INTERVAL, self._on_interval)
        else:
            self._counts[summary.reason] += 1

    def close(self) -> None:
        """Log the refusals that are not logged yet, and cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._log_sums()

    def _on_interval(self) -> None:
        self._timer = self._clock.callLater(INTERVAL, self._on_interval) if self._counts else None
        self._log_sums()

    def _log_sums(self) -> None:
        if self._counts:
            sums = ", ".join(f"{count} {reason.value}" for reason, count in sorted(self._counts.items(), key=str))
            self._log.warn("refused more connections: {sums}", sums=sums)
            self._counts.clear()
