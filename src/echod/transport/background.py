"""A poller that takes a limited share of the time, for connections that must not delay others."""

from typing import Any

from twisted.internet.interfaces import IDelayedCall

from echod.transport.poller import Poller

__all__ = ["BackgroundPoller"]

SHARE = 0.1
"""Seconds of work in each second, as a long-term average."""

BURST = 0.02
"""Seconds of work without a pause, after an idle time."""

TURN = 0.0002
"""Seconds of work in one call from the reactor; an event that has begun is completed first."""


class BackgroundPoller(Poller):
    """A `Poller` that pauses when its work exceeds its share of the time.

    Work is the time of accepts and of calls to protocols. During a pause no event is served; clients wait in the
    kernel's queues. Delayed calls of protocols run in the reactor and are not counted.
    """

    _batch = most_accepts = 1
    """One event and one accept at a time, so that the clock is read after each."""

    def __init__(self, reactor: Any) -> None:
        """`reactor` provides IReactorFDSet and IReactorTime."""
        super().__init__(reactor)
        self._credit = BURST
        """Seconds of work available; the poller pauses when it is negative."""
        self._counted = self._seconds()
        """The time up to which the credit has been calculated."""
        self._pause: IDelayedCall | None = None

    def doRead(self) -> None:
        """Serve ready descriptors for up to TURN."""
        began = now = self._seconds()
        while 0 <= now - began < TURN and (ready := self._poll(0)):
            self._serve_all(ready)
            now = self._seconds()
        # At least 0: a reactor's clock may not be monotonic.
        rested, worked = max(0.0, began - self._counted), max(0.0, now - began)
        self._credit = min(BURST, self._credit + SHARE * rested) - (1 - SHARE) * worked
        self._counted = now
        if self._credit < 0 and self._epoll is not None:
            self._reactor.removeReader(self)
            self._pause = self._reactor.callLater(-self._credit / SHARE, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._reactor.addReader(self)

    def _close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        super()._close()
