"""The log itself as JSON: one object a line."""

import json
from typing import TextIO

from twisted.logger import FileLogObserver, LogEvent, formatEvent

from echod.serve.access_log_lines import iso_time

__all__ = ["json_observer"]


def json_observer(out: TextIO) -> FileLogObserver:
    """Return an observer that writes each event of Twisted's logger as one JSON object."""
    return FileLogObserver(out, event_line)


def event_line(event: LogEvent) -> str:
    """Return an event as a line: time, level, where it comes from, the message, and a failure's traceback."""
    level = event.get("log_level")
    told = {
        "time": iso_time(event["log_time"]),
        "level": "info" if level is None else level.name,
        "namespace": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    if "log_failure" in event:
        told["traceback"] = event["log_failure"].getTraceback()
    return json.dumps(told) + "\n"
