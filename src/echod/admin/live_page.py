"""What the page shows: the state of the daemon each second, and how the last minutes were."""

import json
from collections import deque
from collections.abc import Sequence

from echod.admin.daemon_view import Observed
from echod.admin.reactor_lag import INTERVAL
from echod.admin.requests import AdminRequest
from echod.admin.responses import TEXT, Answer, always
from echod.admin.totals import Figures
from echod.server.summary import WAIT_BOUNDS

__all__ = ["Live", "quantile"]

HISTORY = 300
"""Points that are kept, one for each beat: five minutes."""

MOST_STREAMS = 8
"""Pages that are open at a time. What they take of the admin server's connections, scrapes and checks cannot have."""

MOST_MISSED = 30
"""Beats that a page may leave unread before its connection ends."""

EVENTS = "text/event-stream"

DAY = 86400.0


class Live:
    """Takes a point each beat, and tells the open pages: server-sent events, as section 9.2 of HTML has them."""

    def __init__(self, observed: Observed, version: str) -> None:
        self._observed = observed
        self._version = version
        self._points: deque[dict[str, object]] = deque(maxlen=HISTORY)
        self._before = observed.figures()
        self._streams: set[_Stream] = set()

    def beat(self) -> None:
        """Take a point of the second that has passed, and send it."""
        figures = self._observed.figures()
        point = self._point(figures)
        self._before = figures
        self._points.append(point)
        if self._streams:
            told = _event("beat", {"state": self._state(figures), "point": point})
            for stream in tuple(self._streams):
                stream.send(told)

    def tell_state(self) -> None:
        """Send the state alone: it has changed, and the next beat may come too late."""
        told = _event("state", {"state": self._state(self._observed.figures())})
        for stream in tuple(self._streams):
            stream.send(told)

    def stream(self, request: AdminRequest) -> None:
        """Answer with the events, without an end. The first is what the last minutes were."""
        if request.method == b"HEAD":
            request.answer(always(Answer(200, EVENTS, b"")))
        elif len(self._streams) >= MOST_STREAMS:
            request.answer(always(Answer(503, TEXT, b"too many pages are open\n")))
        else:
            stream = _Stream(request, self._streams)
            stream.send(_event("history", {"state": self._state(self._before), "points": list(self._points)}))

    def _point(self, figures: Figures) -> dict[str, object]:
        before = self._before
        waits = [now - then for now, then in zip(figures.waits.counts, before.waits.counts, strict=True)]
        return {
            "time": round(self._observed.now(), 1),
            "active": figures.active,
            "accepted": (figures.accepted - before.accepted) / INTERVAL,
            "records": (figures.records - before.records) / INTERVAL,
            "received": (figures.bytes_received - before.bytes_received) / INTERVAL,
            "sent": (figures.bytes_sent - before.bytes_sent) / INTERVAL,
            "p50": quantile(WAIT_BOUNDS, waits, 0.5),
            "p99": quantile(WAIT_BOUNDS, waits, 0.99),
            "lag": round(self._observed.pulse.latest, 6),
        }

    def _state(self, figures: Figures) -> dict[str, object]:
        observed = self._observed
        expires = observed.certificate_not_after
        return {
            "version": self._version,
            "state": observed.state.value,
            "since": observed.since,
            "now": observed.now(),
            "places": observed.places,
            "active": figures.active,
            "most": observed.most_connections,
            "accepted": figures.accepted,
            "records": figures.records,
            "closed": {reason.value: count for reason, count in figures.closed.items() if count},
            "handshakes": {version: count for version, count in figures.handshakes.items() if count},
            "failures": {kind.value: count for kind, count in figures.handshake_failures.items() if count},
            "certificate_days": None if expires is None else round((expires - observed.now()) / DAY, 2),
            "overflows": observed.listen_overflows(),
        }


class _Stream:
    """A page that is open. While it does not read, it misses beats rather than have them pile up."""

    def __init__(self, request: AdminRequest, streams: "set[_Stream]") -> None:
        self._request = request
        self._streams = streams
        self._paused = False
        self._missed = 0
        request.begin(EVENTS)
        request.registerProducer(self, True)
        request.notifyFinish().addErrback(self._gone)
        streams.add(self)

    def send(self, event: bytes) -> None:
        """Send an event; end a connection that has not been read from for too long."""
        if not self._paused:
            self._missed = 0
            self._request.write(event)
            return
        self._missed += 1
        if self._missed > MOST_MISSED:
            self._request.channel.transport.abortConnection()

    def pauseProducing(self) -> None:
        """The page does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It reads again."""
        self._paused = False

    def stopProducing(self) -> None:
        """It is gone."""

    def _gone(self, _: object) -> None:
        self._streams.discard(self)


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return a quantile of times that were counted between `bounds`; None where none was.

    It lies in the right bucket, and within that where it would be if the times were spread evenly: as PromQL's
    histogram_quantile() has it. What is above the last bound counts as that. `share` is from 0 to 1.
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


def _event(kind: str, data: dict[str, object]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
