"""Lines of the log and of the access log, for each value of `log-format`. No client can break or forge one.

A client controls two fields, its address and the subject of its certificate. Text that has more than printable ASCII
characters is written as an ASCII JSON string: quotes, line ends and control characters in it are escaped.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from twisted.logger import LogEvent, formatEvent

from echod.server.summary import ConnectionSummary

__all__ = [
    "ACCESS_LINES",
    "JOURNAL_ACCESS_LINES",
    "AccessLines",
    "event_line",
    "iso_time",
    "json_access_line",
    "text_access_line",
]


@dataclass(frozen=True, slots=True)
class AccessLines:
    """The functions that make the lines of an access log from the wall-clock time, in seconds since the epoch."""

    connection: Callable[[float, ConnectionSummary], str]
    dropped: Callable[[float, int], str]
    """The line that tells how many lines were dropped."""


def iso_time(seconds: float) -> str:
    """Return a wall-clock time, in seconds since the epoch, in the form of RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_access_line(now: float, summary: ConnectionSummary) -> str:
    """Return an access log line as text: time, peer, listener, close reason, then `name=value` fields."""
    return f"{iso_time(now)} {_untimed_access_line(now, summary)}"


def _untimed_access_line(_: float, summary: ConnectionSummary) -> str:
    fields = [
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


_JSON_LINES = AccessLines(
    json_access_line, lambda now, count: json.dumps({"time": iso_time(now), "lines-dropped": count})
)

ACCESS_LINES = {
    "text": AccessLines(text_access_line, lambda now, count: f"{iso_time(now)} lines-dropped={count}"),
    "json": _JSON_LINES,
}
"""The lines of the access log, by value of `log-format`."""

JOURNAL_ACCESS_LINES = {
    "text": AccessLines(_untimed_access_line, lambda _, count: f"lines-dropped={count}"),
    "json": _JSON_LINES,
}
"""The same in the journal of systemd, which has the time of each line."""


def event_line(event: LogEvent) -> str:
    """Return a log event as one JSON object: time, level, namespace, message, traceback of a failure."""
    level = event.get("log_level")
    fields = {
        "time": iso_time(event["log_time"]),
        "level": "info" if level is None else level.name,  # events of twisted.python.log have no level
        "namespace": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    if "log_failure" in event:
        fields["traceback"] = event["log_failure"].getTraceback()
    return json.dumps(fields)


def _quoted_if_needed(text: str) -> str:
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)
