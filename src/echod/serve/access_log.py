"""The access log: one line per ended connection."""

from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger
from zope.interface import implementer

from echod.common.errors import ConfigurationError
from echod.serve.destinations import NamedFile
from echod.serve.line_writer import Destination, LineWriter
from echod.serve.log_lines import AccessLines
from echod.server.config import ServerConfiguration
from echod.server.observer import IConnectionObserver
from echod.server.summary import CloseReason, ConnectionSummary

__all__ = ["STANDARD_OUTPUT", "AccessLog", "ConfiguredAccessLog"]

STANDARD_OUTPUT = "-"

INTERVAL = 0.2
"""Seconds between two writes. The lines of an interval are written together: a write for each one would take the
daemon's time.
"""


@implementer(IConnectionObserver)
class AccessLog:
    """Appends lines to a file, which can be reopened by its name after log rotation, or to standard output."""

    _log = Logger()

    def __init__(
        self,
        path: str,
        lines: AccessLines,
        wall_clock: Callable[[], float],
        in_reactor: Callable[[Callable[[], None]], None],
        standard_output: Destination | None = None,
    ) -> None:
        """Open the file at `path`; for `-`, write to `standard_output`. Raises ConfigurationError.

        `in_reactor` calls a function in the reactor's thread.
        """
        self._path = path if path == STANDARD_OUTPUT else str(Path(path).absolute())
        self._lines = lines
        self._wall_clock = wall_clock
        destination = standard_output if standard_output is not None and path == STANDARD_OUTPUT else self._open()
        reports = _Reports(self._log, in_reactor)
        self.writer = LineWriter(destination, lambda count: lines.dropped(wall_clock(), count), reports, INTERVAL)

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Write the line."""
        self.writer.write(self._lines.connection(self._wall_clock(), summary))

    def reopen(self) -> None:
        """Open the file again by its name. Raises ConfigurationError; then the old file stays open."""
        if self._path != STANDARD_OUTPUT:
            self.writer.replace(self._open())

    def close(self) -> None:
        """Write all lines in the time of a flush; log how many are lost."""
        lost = self.writer.close()
        if lost:
            self._log.error("the access log ends without its last {lost} line(s)", lost=lost)

    def _open(self) -> Destination:
        try:
            return NamedFile(self._path)
        except OSError as problem:
            raise ConfigurationError(f"access-log: cannot open {self._path}: {problem.strerror}") from None


@implementer(IConnectionObserver)
class ConfiguredAccessLog:
    """The access log that the configuration names, which a reload replaces; or none."""

    _log = Logger()

    def __init__(
        self, configuration: ServerConfiguration, open_log: Callable[[ServerConfiguration], AccessLog | None]
    ) -> None:
        """Open the access log. Raises ConfigurationError."""
        self._configuration = configuration
        self._open_log = open_log
        self._current = open_log(configuration)
        self._dropped_before = 0
        """Lines that the logs before the present one dropped."""

    @property
    def dropped(self) -> int:
        """Number of lines dropped so far."""
        return self._dropped_before + (0 if self._current is None else self._current.writer.dropped)

    def start(self) -> None:
        """Start the thread that writes. Not before the process daemonizes: a thread does not survive fork(2)."""
        if self._current is not None:
            self._current.writer.start()

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Write the line, but that of a health check only if the configuration says so."""
        if self._current is None:
            return
        if summary.reason is not CloseReason.HEALTH_CHECK or self._configuration.log_health_checks:
            self._current.connection_ended(summary)

    def prepare(self, configuration: ServerConfiguration) -> Callable[[], None]:
        """Open the access log of another configuration; return the function that replaces the present one.

        Raises ConfigurationError.
        """
        same = _file_and_format(configuration) == _file_and_format(self._configuration)
        new = self._current if same else self._open_log(configuration)

        def apply() -> None:
            self._configuration = configuration
            if new is not self._current:
                self._replace(new)

        return apply

    def reopen(self) -> None:
        """Open the file again by its name. If that fails, log an error; the old file stays open."""
        if self._current is None:
            return
        try:
            self._current.reopen()
        except ConfigurationError as problem:
            self._log.error("the access log stays as it was: {problem}", problem=problem)
        else:
            self._log.info("loaded the access log again")

    def close(self) -> None:
        """Write all lines in the time of a flush; log how many are lost."""
        if self._current is not None:
            self._current.close()

    def _replace(self, new: AccessLog | None) -> None:
        old, self._current = self._current, new
        self.start()
        if old is not None:
            self._dropped_before += old.writer.dropped
            old.writer.retire()


def _file_and_format(configuration: ServerConfiguration) -> tuple[str | None, str]:
    return configuration.access_log, configuration.log_format


class _Reports:
    """Logs the failures and the losses of the access log."""

    def __init__(self, log: Logger, in_reactor: Callable[[Callable[[], None]], None]) -> None:
        self._log = log
        self._in_reactor = in_reactor

    def failed(self, problem: OSError) -> None:
        """Log the failure."""
        text = "the access log cannot be written: {problem}"
        self._in_reactor(lambda: self._log.error(text, problem=problem.strerror))

    def full(self) -> None:
        """Log that lines are dropped."""
        self._log.error("the access log takes no more lines; they are dropped until it is written again")

    def written_again(self, dropped: int) -> None:
        """Log the number of dropped lines."""
        text = "the access log is written again; {dropped} line(s) were dropped"
        self._in_reactor(lambda: self._log.warn(text, dropped=dropped))
