"""A connection as one line of the access log, which no client can break or forge.

What a client chooses is its address, which is parsed, and its certificate's subject, which is written as a
JSON string in ASCII: quotes, line ends and control characters in it are escaped.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from echod.server.summary import ConnectionSummary

__all__ = ["LINE_FORMATS", "iso_time"]


def iso_time(seconds: float) -> str:
    """Return a time of the wall clock, in seconds since the epoch, as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(now: float, summary: ConnectionSummary) -> str:
    """Return the line as words: time, peer, listener, close reason, then names with their values."""
    words = [
        iso_time(now),
        str(summary.peer) if summary.peer.host else "-",
        _word(summary.listener),
        summary.reason.value,
        f"records={summary.records}",
        f"received={summary.bytes_received}",
        f"sent={summary.bytes_sent}",
        f"duration={summary.duration:.6f}",
    ]
    if summary.tls is not None:
        words += [f"tls={summary.tls.version}", f"cipher={summary.tls.cipher}"]
        if summary.tls.client_subject is not None:
            words.append(f"subject={json.dumps(summary.tls.client_subject)}")
    return " ".join(words)


def json_line(now: float, summary: ConnectionSummary) -> str:
    """Return the line as one JSON object; what does not apply is left out."""
    told: dict[str, object] = {
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
        told |= {"tls": summary.tls.version, "cipher": summary.tls.cipher}
        if summary.tls.client_subject is not None:
            told["subject"] = summary.tls.client_subject
    return json.dumps(told)


LINE_FORMATS: dict[str, Callable[[float, ConnectionSummary], str]] = {"text": text_line, "json": json_line}
"""The line for each value of `log-format`."""


def _word(text: str) -> str:
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)
