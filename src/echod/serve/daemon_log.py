"""The daemon's log: an observer of Twisted's events that writes them in a thread."""

import re
import time
from collections.abc import Callable

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, formatEvent, formatEventAsClassicLogText
from zope.interface import implementer

from echod.serve.destinations import RotatedFile
from echod.serve.line_writer import Destination, LineWriter
from echod.serve.log_lines import event_line
from echod.server.config import ServerConfiguration

__all__ = ["DaemonLog", "EventLine", "journal_event", "line_of_event", "text_event"]

EventLine = Callable[[LogEvent], str | None]
"""Makes the text of an event, without a newline at its end. None: the event has no text."""

PRIORITIES = {LogLevel.critical: 2, LogLevel.error: 3, LogLevel.warn: 4, LogLevel.info: 6, LogLevel.debug: 7}
"""Priorities of syslog(3), by level."""

_NOISE = re.compile(
    r"Unable to write to plugin cache |Loading .*\.\.\.$|Loaded\.$|reactor class: |"
    r"\w+ starting on |\(\w+ Port .+ Closed\)$"
)
"""What Twisted logs of its own start, and of listeners, which echod logs as well."""


@implementer(ILogObserver)
class DaemonLog:
    """Writes each event of Twisted's logger."""

    def __init__(
        self,
        destination: Destination,
        event_text: EventLine,
        wall_clock: Callable[[], float] = time.time,
        *,
        in_journal: bool = False,
    ) -> None:
        """`in_journal`: whether the destination is the journal of systemd."""
        self._in_journal = in_journal
        self._destination = destination
        self._event_text = event_text
        self._wall_clock = wall_clock
        self.writer = LineWriter(destination, self._dropped_line)

    @property
    def is_rotated(self) -> bool:
        """Whether it is the log file of twistd."""
        return isinstance(self._destination, RotatedFile)

    def rotate(self) -> None:
        """Rotate the log file of twistd before the next line."""
        assert isinstance(self._destination, RotatedFile)
        self._destination.rotation_requested = True

    def prepare(self, configuration: ServerConfiguration) -> Callable[[], None]:
        """Return the function that applies the format of another configuration to further events."""
        event_text = line_of_event(configuration.log_format, journal=self._in_journal)

        def apply() -> None:
            self._event_text = event_text

        return apply

    def __call__(self, event: LogEvent) -> None:
        """Write the event, unless it is one of Twisted's about its start."""
        if _is_noise(event):
            return
        text = self._event_text(event)
        if text:
            self.writer.write(text)

    def _dropped_line(self, count: int) -> str:
        event = {
            "log_time": self._wall_clock(),
            "log_level": LogLevel.warn,
            "log_namespace": __name__,
            "log_format": "{count} line(s) of this log were dropped",
            "count": count,
        }
        return self._event_text(event) or ""


def line_of_event(log_format: str, *, journal: bool) -> EventLine:
    """Return the function for a value of `log-format`; `journal`: whether the log goes to the journal of systemd."""
    line = event_line if log_format == "json" else _untimed_event if journal else text_event
    return journal_event(line) if journal else line


def text_event(event: LogEvent) -> str | None:
    """Return an event as text: time, namespace and level, message; a tab before each further line."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else text.removesuffix("\n")


def _untimed_event(event: LogEvent) -> str | None:
    return eventAsText(event, includeTimestamp=False).replace("\n", "\n\t")


def journal_event(line: EventLine) -> EventLine:
    """Return `line` with a priority before each line of its text, which the journal removes (sd-daemon(3))."""

    def with_priority(event: LogEvent) -> str | None:
        text = line(event)
        level = event.get("log_level")
        priority = PRIORITIES[LogLevel.info if level is None else level]
        return text and "\n".join(f"<{priority}>{each}" for each in text.split("\n"))

    return with_priority


def _is_noise(event: LogEvent) -> bool:
    namespace = event.get("log_namespace", "")
    if event.get("log_level") is not LogLevel.info or not namespace.startswith(("log_legacy", "twisted.scripts.")):
        return False
    return _NOISE.match(formatEvent(event)) is not None
