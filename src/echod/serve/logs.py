"""The logs of a daemon together, and the service that starts their threads."""

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.application.service import MultiService, Service
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from echod.serve.access_log import ConfiguredAccessLog
from echod.serve.daemon_log import DaemonLog

__all__ = ["LoggedService", "Logs"]


_log = Logger()


@dataclass(frozen=True)
class Logs:
    """The logs that echod writes."""

    daemon: DaemonLog | None
    """None: another observer writes the daemon's log, that of twistd's --logger or --syslog."""
    access: ConfiguredAccessLog | None

    def start(self) -> None:
        """Start the threads of the logs. Not before the process daemonizes: a thread does not survive fork(2)."""
        if self.daemon is not None:
            self.daemon.writer.start()
        if self.access is not None:
            self.access.start()

    def reopen(self) -> None:
        """Open the access log again by its name."""
        if self.access is not None:
            self.access.reopen()

    def rotate(self) -> None:
        """Rotate the log file of twistd; open the access log again by its name."""
        if self.daemon is not None and self.daemon.is_rotated:
            self.daemon.rotate()
            _log.info("the log is rotated before this line")
        self.reopen()

    def close(self) -> None:
        """Write what is queued. The daemon's log is the last, because the access log reports to it."""
        if self.access is not None:
            self.access.close()
        if self.daemon is not None:
            self.daemon.writer.close()

    def lines_dropped(self) -> Mapping[str, int]:
        """Return the number of dropped lines of each log."""
        return {
            "access": 0 if self.access is None else self.access.dropped,
            "daemon": 0 if self.daemon is None else self.daemon.writer.dropped,
        }


class LoggedService(MultiService):
    """A service whose logs start before it does."""

    def __init__(self, service: Service, logs: Logs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no annotations
        self._logs = logs
        service.setServiceParent(self)

    def setServiceParent(self, parent: object) -> None:
        """Join `parent`. If it is an application, the daemon's log becomes its log observer."""
        if self._logs.daemon is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._logs.daemon)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # Twisted has no annotations

    def privilegedStartService(self) -> None:
        """Start the logs, then the service. Raises ListenError."""
        self._logs.start()
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted has no annotations

    def startService(self) -> None:
        """Start the logs, then the service. Raises ListenError."""
        self._logs.start()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotations
