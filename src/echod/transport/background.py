"""A poller for what must not get in the way of the connections that matter: it takes a share of the time, no more."""

from typing import Any

from twisted.internet.interfaces import IDelayedCall

from echod.transport.poller import Poller

__all__ = ["BackgroundPoller"]

SHARE = 0.1
"""Of the time, in the long run: seconds of work in each second."""

BURST = 0.02
"""Seconds of work that it may do without a pause, having done none for a while."""

TURN = 0.0002
"""Seconds after which all else has its turn. What was begun is ended first: so long the others may have to wait."""


class BackgroundPoller(Poller):
    """Serves its descriptors as a `Poller` does, as long as that takes no more than a share of the time.

    Accepting counts, and all that protocols do when they are told of something. Where it has taken more than its
    share, nothing of its own is heard for as long as it takes to be worth that share again: clients wait in the
    kernel meanwhile. Calls that a protocol has delayed are the reactor's, and do not count.
    """

    _batch = 1
    """One after the other, with a look at the clock in between."""

    def __init__(self, reactor: Any) -> None:
        """`reactor` is any that provides IReactorFDSet and IReactorTime."""
        super().__init__(reactor)
        self._credit = BURST
        """Seconds of work that it may still do at once; below 0 it pauses."""
        self._counted = self._seconds()
        """Until when the time that passed is in the credit."""
        self._pause: IDelayedCall | None = None

    def doRead(self) -> None:
        """Serve whatever is ready, for a turn."""
        began = now = self._seconds()
        while 0 <= now - began < TURN and (ready := self._poll(0)):
            self._serve_all(ready)
            now = self._seconds()
        # Never below 0, where somebody's clock is no monotonic one.
        rested, worked = max(0.0, began - self._counted), max(0.0, now - began)
        self._credit = min(BURST, self._credit + SHARE * rested) - (1 - SHARE) * worked
        self._counted = now
        if self._credit < 0 and self._epoll is not None:
            self._reactor.removeReader(self)
            self._pause = self._reactor.callLater(-self._credit / SHARE, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._reactor.addReader(self)

    def _close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        super()._close()
