"""The pause after an accept that failed because the host had no descriptor or no memory left.

The kernel then keeps the connection in the queue and the socket readable: Twisted's port would try again in every turn
of the reactor, with a log line each time. nginx pauses for 500 ms in that case, and so does echod.
"""

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from zope.interface import implementer

__all__ = ["AcceptPause"]

PAUSE = 0.5
"""Seconds without accepts after an accept that failed."""

LOG_INTERVAL = 10.0
"""Seconds between two log lines about failed accepts; each line has the number of failures since the one before."""


@implementer(ILogObserver)
class AcceptPause:
    """Pauses one of Twisted's ports when it logs that an accept failed."""

    _log = Logger()

    def __init__(self, port: IListeningPort, clock: IReactorTime) -> None:
        self._port: Any = port
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._logged_at: float | None = None
        self._failures = 0
        # A private name, because Twisted reports a failed accept in its log only. A port without the attribute retries
        # and logs as Twisted does.
        if hasattr(self._port, "_logger"):
            self._port._logger = Logger(namespace="twisted.internet.tcp", observer=self)  # noqa: SLF001 - see above

    def __call__(self, event: LogEvent) -> None:
        """Pause the port, and log the failure or count it. Further events of the same accept are dropped."""
        if self._timer is not None:
            return
        self._failures += 1
        now = self._clock.seconds()
        if self._logged_at is None or now - self._logged_at >= LOG_INTERVAL:
            self._log.warn(
                "cannot accept connections now, {failures} time(s): {problem}",
                failures=self._failures,
                problem=formatEvent(event),
            )
            self._logged_at = now
            self._failures = 0
        self._port.stopReading()
        self._timer = self._clock.callLater(PAUSE, self._resume)

    def stop(self) -> None:
        """End the pause, because the port closes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _resume(self) -> None:
        self._timer = None
        self._port.startReading()
