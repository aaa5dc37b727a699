"""When the host cannot give a connection: no descriptor, no memory.

The kernel then leaves the connection in the queue and the socket readable, and Twisted's port would try
again in every turn of the reactor, with a line of log each. nginx rests for 500 ms in that case; so
does this.
"""

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from zope.interface import implementer

__all__ = ["AcceptPause"]

REST = 0.5
"""Seconds for which nothing is accepted after an accept that failed."""

INTERVAL = 10.0
"""Seconds for which failures are summed before the log tells of them again."""


@implementer(ILogObserver)
class AcceptPause:
    """Is told by one of Twisted's ports what it would log of its accepts, and lets the port rest."""

    _log = Logger()

    def __init__(self, port: IListeningPort, clock: IReactorTime) -> None:
        self._port: Any = port
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._told_at: float | None = None
        self._failures = 0
        # Not a public name, but the only way to hear of it. A port without it tries and logs as it always did.
        if hasattr(self._port, "_logger"):
            self._port._logger = Logger(namespace="twisted.internet.tcp", observer=self)  # noqa: SLF001 - see above

    def __call__(self, event: LogEvent) -> None:
        """Rest, and log it, or sum it up. What else the same accept has to say is left out."""
        if self._timer is not None:
            return
        self._failures += 1
        now = self._clock.seconds()
        if self._told_at is None or now - self._told_at >= INTERVAL:
            self._log.warn(
                "cannot accept connections now, {failures} time(s): {problem}",
                failures=self._failures,
                problem=formatEvent(event),
            )
            self._told_at = now
            self._failures = 0
        self._port.stopReading()
        self._timer = self._clock.callLater(REST, self._go_on)

    def stop(self) -> None:
        """Rest no more: the port closes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        self._timer = None
        self._port.startReading()
