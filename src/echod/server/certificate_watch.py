"""Warnings about certificates in the log: at the start, after each reload, and once a day."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from echod.server.tls import ServerTLS

__all__ = ["CertificateWatch"]

DAY = 86400.0
"""Seconds."""


class CertificateWatch:
    """Logs the warnings about the certificates and the key of `tls`, while it runs, once a day."""

    _log = Logger()

    def __init__(self, tls: ServerTLS, clock: IReactorTime, wall_clock: Callable[[], float]) -> None:
        """`wall_clock` returns seconds since the epoch."""
        self.tls = tls
        self._wall_clock = wall_clock
        self._loop = LoopingCall(self.log_warnings)
        self._loop.clock = clock

    def start(self) -> None:
        """Log the warnings now and from now on once a day."""
        self._loop.start(DAY)

    def stop(self) -> None:
        """Cancel the next call."""
        if self._loop.running:
            self._loop.stop()

    def log_warnings(self) -> None:
        """Log the warnings as of now."""
        for warning in self.tls.warnings(self._wall_clock()):
            self._log.warn("{text}", text=warning)
