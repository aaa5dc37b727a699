"""The event stream of the live page: the daemon's state once a second, and the last five minutes as points."""

import json
from collections import deque
from collections.abc import Callable

from twisted.logger import Logger

from echod.admin.http_request import HTTPRequest
from echod.admin.http_server import AdminConnection
from echod.admin.metric_family import BucketCounts
from echod.admin.pages import TEXT, Response, constant_page
from echod.admin.process_group import ProcessGroup
from echod.admin.reactor_lag import INTERVAL
from echod.admin.snapshot import DaemonState, Snapshot

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

    def __init__(self, group: ProcessGroup, wall_clock: Callable[[], float], version: str) -> None:
        """`wall_clock` returns seconds since the epoch."""
        self._group = group
        self._now = wall_clock
        self._version = version
        self._points: deque[dict[str, object]] = deque(maxlen=HISTORY)
        self._previous = group.snapshot()
        """The snapshot at the last tick."""
        self._streams: set[_EventStream] = set()

    def tick(self) -> None:
        """Add a point for the last second and send it."""
        snapshot = self._group.snapshot()
        point = self._point(snapshot)
        self._previous = snapshot
        self._points.append(point)
        if self._streams:
            self._send(_event("tick", {"state": self._state(snapshot), "point": point}))

    def send_state(self) -> None:
        """Send the state without a point: after a change of state that should not wait for the next tick."""
        self._send(_event("state", {"state": self._state(self._group.snapshot())}))

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

    def _point(self, snapshot: Snapshot) -> dict[str, object]:
        def per_second(name: str) -> float:
            return (snapshot.count(name) - self._previous.count(name)) / INTERVAL

        waits = snapshot.buckets("echod_record_wait_seconds")
        new_waits = waits - self._previous.buckets("echod_record_wait_seconds")
        return {
            "time": round(self._now(), 1),
            "active": snapshot.count("echod_connections_active"),
            "accepted": per_second("echod_connections_accepted"),
            "records": per_second("echod_records_echoed"),
            "received": per_second("echod_received_bytes"),
            "sent": per_second("echod_sent_bytes"),
            "p50": quantile(new_waits, 0.5),
            "p99": quantile(new_waits, 0.99),
            "lag": round(snapshot.lag, 6),
        }

    def _state(self, snapshot: Snapshot) -> dict[str, object]:
        not_after = snapshot.number("echod_tls_certificate_not_after_timestamp_seconds")
        return {
            "version": self._version,
            "state": snapshot.state.value,
            "processes": len(snapshot.states),
            "processes_ready": snapshot.states.count(DaemonState.READY),
            "since": snapshot.since,
            "now": self._now(),
            "places": snapshot.addresses,
            "active": snapshot.count("echod_connections_active"),
            "most": snapshot.number("echod_connections_max"),
            "accepted": snapshot.count("echod_connections_accepted"),
            "records": snapshot.count("echod_records_echoed"),
            "closed": snapshot.counts_by_label("echod_connections_closed")
            | snapshot.counts_by_label("echod_connections_refused"),
            "handshakes": snapshot.counts_by_label("echod_tls_handshakes"),
            "failures": snapshot.counts_by_label("echod_tls_handshake_failures"),
            "certificate_days": None if not_after is None else round((not_after - self._now()) / DAY, 2),
            "overflows": snapshot.number("echod_host_listen_overflows"),
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


def quantile(times: BucketCounts, share: float) -> float | None:
    """Return a quantile of times, or None if there are none; `share` is from 0 to 1.

    Within a bucket the times are taken as evenly spread, as in PromQL's histogram_quantile(). Times above the last
    bound count as that bound.
    """
    rank = share * sum(times.counts)
    if not rank:
        return None
    below, lower = 0, 0.0
    for bound, count in zip(times.bounds, times.counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below += count
        lower = bound
    return times.bounds[-1]


def _event(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
