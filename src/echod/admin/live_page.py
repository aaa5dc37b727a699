"""The event stream of the live page: the daemon's state once a second, and the last five minutes as points."""

import json
from collections import deque
from collections.abc import Sequence

from twisted.logger import Logger

from echod.admin.connection_totals import ConnectionCounts
from echod.admin.daemon_view import DaemonView
from echod.admin.http_request import HTTPRequest
from echod.admin.http_server import AdminConnection
from echod.admin.pages import TEXT, Response, constant_page
from echod.admin.reactor_lag import INTERVAL
from echod.server.summary import WAIT_BOUNDS

__all__ = ["LivePage", "quantile"]

HISTORY = 300
"""Points that are kept, one per tick: five minutes."""

MAX_STREAMS = 8
"""Open live pages: a quarter of the admin server's connections, the others being for scrapes and health checks."""

MAX_MISSED_EVENTS = 30
"""Events that a live page may leave unread before its connection is aborted."""

EVENT_STREAM = "text/event-stream"

DAY = 86400.0


class LivePage:
    """Adds a point at each tick and sends it to the open live pages, as server-sent events (HTML section 9.2)."""

    _log = Logger()

    def __init__(self, view: DaemonView, version: str) -> None:
        self._view = view
        self._version = version
        self._points: deque[dict[str, object]] = deque(maxlen=HISTORY)
        self._previous = view.counts()
        """The counts at the last tick."""
        self._streams: set[_EventStream] = set()

    def tick(self) -> None:
        """Add a point for the last second and send it."""
        counts = self._view.counts()
        point = self._point(counts)
        self._previous = counts
        self._points.append(point)
        if self._streams:
            self._send(_event("tick", {"state": self._state(counts), "point": point}))

    def send_state(self) -> None:
        """Send the state without a point: after a change of state that should not wait for the next tick."""
        self._send(_event("state", {"state": self._state(self._view.counts())}))

    def respond(self, connection: AdminConnection, request: HTTPRequest) -> None:
        """Respond with an event stream that has no end. Its first event is the history."""
        if request.method == "HEAD":
            connection.respond(request, constant_page(Response(200, EVENT_STREAM, b"")))
        elif len(self._streams) >= MAX_STREAMS:
            connection.respond(request, constant_page(Response(503, TEXT, b"too many live pages are open\n")))
        else:
            history = _event("history", {"state": self._state(self._previous), "points": list(self._points)})
            _EventStream(connection, self._streams).send(history)

    def _send(self, event: bytes) -> None:
        for stream in tuple(self._streams):
            try:
                stream.send(event)
            except Exception:
                # The other pages get the event all the same.
                self._log.failure("cannot send to a live page")
                stream.abort()

    def _point(self, counts: ConnectionCounts) -> dict[str, object]:
        previous = self._previous
        waits = [now - before for now, before in zip(counts.waits.counts, previous.waits.counts, strict=True)]
        return {
            "time": round(self._view.now(), 1),
            "active": counts.active,
            "accepted": (counts.accepted - previous.accepted) / INTERVAL,
            "records": (counts.records - previous.records) / INTERVAL,
            "received": (counts.bytes_received - previous.bytes_received) / INTERVAL,
            "sent": (counts.bytes_sent - previous.bytes_sent) / INTERVAL,
            "p50": quantile(WAIT_BOUNDS, waits, 0.5),
            "p99": quantile(WAIT_BOUNDS, waits, 0.99),
            "lag": round(self._view.reactor_lag.latest, 6),
        }

    def _state(self, counts: ConnectionCounts) -> dict[str, object]:
        view = self._view
        not_after = view.certificate_not_after
        return {
            "version": self._version,
            "state": view.state.value,
            "since": view.since,
            "now": view.now(),
            "places": view.listening_addresses,
            "active": counts.active,
            "most": view.max_connections,
            "accepted": counts.accepted,
            "records": counts.records,
            "closed": {reason.value: count for reason, count in counts.closed.items() if count},
            "handshakes": {version: count for version, count in counts.handshakes.items() if count},
            "failures": {kind.value: count for kind, count in counts.handshake_failures.items() if count},
            "certificate_days": None if not_after is None else round((not_after - view.now()) / DAY, 2),
            "overflows": view.listen_overflows(),
        }


class _EventStream:
    """The connection of one live page. While the page does not read, events are dropped instead of buffered."""

    def __init__(self, connection: AdminConnection, streams: "set[_EventStream]") -> None:
        """Join `streams` until the connection ends."""
        self._connection = connection
        self._streams = streams
        self._paused = False
        self._missed = 0
        connection.begin_stream(EVENT_STREAM, self)
        streams.add(self)

    def send(self, event: bytes) -> None:
        """Send an event; if too many were missed, abort the connection."""
        if not self._paused:
            self._missed = 0
            self._connection.write(event)
            return
        self._missed += 1
        if self._missed > MAX_MISSED_EVENTS:
            self.abort()

    def abort(self) -> None:
        """Abort the connection."""
        self._connection.abort()

    def pause(self) -> None:
        """Drop events: the transport's buffer is full."""
        self._paused = True

    def resume(self) -> None:
        """Send events again."""
        self._paused = False

    def ended(self) -> None:
        """Leave the set of streams."""
        self._streams.discard(self)


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return a quantile of times that are counted in buckets, or None if all counts are 0.

    `bounds` and `counts` are as in `BucketCounts`; `share` is from 0 to 1. Within a bucket the times are taken as
    evenly spread, as in PromQL's histogram_quantile(). Times above the last bound count as that bound.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    below, lower = 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below += count
        lower = bound
    return bounds[-1]


def _event(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
