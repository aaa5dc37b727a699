"""Lines of the log and of the access log, for each value of `log-format`. No client can break or forge one.

A client controls two fields, its address and the subject of its certificate. Text that has more than printable ASCII
characters is written as an ASCII JSON string: quotes, line ends and control characters in it are escaped.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from twisted.logger import FileLogObserver, LogEvent, formatEvent

from echod.server.summary import ConnectionSummary

__all__ = ["ACCESS_LINES", "event_line", "iso_time", "json_access_line", "json_observer", "text_access_line"]


def iso_time(seconds: float) -> str:
    """Return a wall-clock time, in seconds since the epoch, in the form of RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_access_line(now: float, summary: ConnectionSummary) -> str:
    """Return an access log line as text: time, peer, listener, close reason, then `name=value` fields."""
    fields = [
        iso_time(now),
        _quoted_if_needed(str(summary.peer)) if summary.peer.host else "-",
        _quoted_if_needed(summary.listener),
        summary.reason.value,
        f"records={summary.records}",
        f"received={summary.bytes_received}",
        f"sent={summary.bytes_sent}",
        f"duration={summary.duration:.6f}",
    ]
    if summary.tls is not None:
        fields += [f"tls={summary.tls.version}", f"cipher={summary.tls.cipher}"]
        if summary.tls.client_subject is not None:
            fields.append(f"subject={json.dumps(summary.tls.client_subject)}")
    return " ".join(fields)


def json_access_line(now: float, summary: ConnectionSummary) -> str:
    """Return an access log line as one JSON object, without the TLS fields if the connection had no TLS."""
    fields: dict[str, object] = {
        "time": iso_time(now),
        "peer": summary.peer.host,
        "port": summary.peer.port,
        "listener": summary.listener,
        "reason": summary.reason.value,
        "records": summary.records,
        "received": summary.bytes_received,
        "sent": summary.bytes_sent,
        "duration": round(summary.duration, 6),
    }
    if summary.tls is not None:
        fields |= {"tls": summary.tls.version, "cipher": summary.tls.cipher}
        if summary.tls.client_subject is not None:
            fields["subject"] = summary.tls.client_subject
    return json.dumps(fields)


ACCESS_LINES: dict[str, Callable[[float, ConnectionSummary], str]] = {
    "text": text_access_line,
    "json": json_access_line,
}
"""The function that makes an access log line, by value of `log-format`."""


def json_observer(out: TextIO) -> FileLogObserver:
    """Return an observer that writes each event of Twisted's logger to `out` as one JSON object."""
    return FileLogObserver(out, event_line)


def event_line(event: LogEvent) -> str:
    """Return a log event as one JSON object and a newline: time, level, namespace, message, traceback of a failure."""
    level = event.get("log_level")
    fields = {
        "time": iso_time(event["log_time"]),
        "level": "info" if level is None else level.name,  # events of twisted.python.log have no level
        "namespace": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    if "log_failure" in event:
        fields["traceback"] = event["log_failure"].getTraceback()
    return json.dumps(fields) + "\n"


def _quoted_if_needed(text: str) -> str:
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)
