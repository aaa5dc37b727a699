"""Refused connections, summed: a flood of them writes a line every few seconds, not one each."""

from collections import Counter

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from echod.server.observer import IConnectionObserver
from echod.server.summary import REFUSALS, CloseReason, ConnectionSummary

__all__ = ["RefusalLog"]

INTERVAL = 10.0
"""Seconds for which refusals are summed."""


@implementer(IConnectionObserver)
class RefusalLog:
    """Logs the first refusal at once, and then the sum of those that follow, as long as they do."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._counts: Counter[CloseReason] = Counter()
        self._timer: IDelayedCall | None = None

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Take note of a refusal."""
        if summary.reason not in REFUSALS:
            return
        if self._timer is None:
            self._log.warn("refused {peer}: {reason}", peer=summary.peer, reason=summary.reason.value)
            self._timer = self._clock.callLater(INTERVAL, self._tell)
        else:
            self._counts[summary.reason] += 1

    def close(self) -> None:
        """Tell what has not been told yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._tell_sum()

    def _tell(self) -> None:
        self._timer = self._clock.callLater(INTERVAL, self._tell) if self._counts else None
        self._tell_sum()

    def _tell_sum(self) -> None:
        if self._counts:
            sums = ", ".join(f"{count} {reason.value}" for reason, count in sorted(self._counts.items(), key=str))
            self._log.warn("refused more connections: {sums}", sums=sums)
            self._counts.clear()
