"""An HTTP server that only answers: nothing that a client sends changes the daemon, or grows with what was sent before.

What keeps hostile clients off the echo service:

- All of it together takes a share of the time and no more, where its ports are a `BackgroundPoller`'s.
- A request has a deadline, from the connection or the answer before to the end of its headers. Bytes that drip in do
  not extend it.
- Request line and headers are bounded together; a request with a body is refused before the body is read.
- One request at a time: what comes behind one that is not answered yet is dropped, and the answer is the connection's
  last. Clients that pipeline have to be ready for that (RFC 9112 section 9.3.2).
- Connections are bounded. One more takes the place of the one that has been idle for longest.
- What may be asked at all is little: see `requests`.

Reading a request takes Twisted a fifth of a millisecond, and a scraper sends the same bytes each time. So what was
asked by the last few requests is kept by their bytes, and the same bytes are not read again.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString

from echod.admin.requests import METHODS, NOT_ALLOWED, WITH_A_BODY, AdminRequest, Stream, is_loopback
from echod.admin.responses import Asked, Page
from echod.common.addresses import display_host

__all__ = ["AdminFactory"]

TIMEOUT = 20.0
"""Seconds for a request to come. No usual interval of scrapes, so none meets the close of an idle connection."""

MOST_CONNECTIONS = 32
"""Half of the descriptors that the daemon keeps from its clients: `echod.server.assembly.DESCRIPTOR_RESERVE`."""

MOST_HEADERS = 64
MOST_HEADER_BYTES = 8192

MOST_KNOWN = 64
"""Requests that are kept by their bytes: twice as many as connections. One more, and it begins anew."""

Sent = tuple[bool, bytes]
"""A request: whether it came to a loopback address, and its bytes. What it asks follows from these two."""


class AdminChannel(HTTPChannel):
    """A connection."""

    maxHeaders = MOST_HEADERS
    totalHeadersSize = MOST_HEADER_BYTES
    MAX_LENGTH = MOST_HEADER_BYTES
    requestFactory = AdminRequest
    timeOut: float | None = TIMEOUT  # type: ignore[assignment]  # Twisted says int, and takes any number
    transport: Any
    on_loopback = False
    """Whether the address that the client has reached is one."""
    _refused = False
    _at_rest = True
    """Whether it waits for a request, and nothing of one has come."""
    _sent: Sent | None = None
    """The request that is being read, where it came in one piece and with nothing behind it."""

    def __init__(self, server: "AdminFactory") -> None:
        super().__init__()
        self.callLater = server.clock.callLater  # type: ignore[method-assign, assignment]  # how Twisted's factory does it
        self.pages = server.pages
        self.streams = server.streams
        self.date = server.date
        self._server = server

    def connectionMade(self) -> None:
        """Wait for a request."""
        super().connectionMade()
        self.on_loopback = is_loopback(display_host(getattr(self.transport.getHost(), "host", "")))
        self._server.waiting(self)

    def resetTimeout(self) -> None:
        """Do nothing: what drips in extends no deadline."""

    def dataReceived(self, data: bytes) -> None:
        """Answer a request that is known; read any other."""
        self._sent = (self.on_loopback, data) if self._at_rest else None
        asked = self._server.known(self._sent)
        if asked is None:
            self._at_rest = False
            super().dataReceived(data)
            return
        self._at_rest = not asked.last
        self._server.waiting(self)
        self.setTimeout(TIMEOUT)
        self.send(asked)
        if asked.last:
            self.loseConnection()

    def send(self, asked: Asked) -> None:
        """Send the answer, in one piece."""
        self.transport.write(asked.answered(self.date()))

    def learn(self, asked: Asked) -> None:
        """Keep what the present request asks, where it is one that the client may send again."""
        if self._sent is not None:
            self._server.learn(self._sent, asked)

    def allHeadersReceived(self) -> None:
        """Refuse a request with a body."""
        if self.length == 0:
            super().allHeadersReceived()
        else:
            self._refused = True
            self.send(Asked(WITH_A_BODY if self._command in METHODS else NOT_ALLOWED, last=True))
            self.loseConnection()

    def rawDataReceived(self, data: bytes) -> None:
        """Drop the body of a refused request; keep what comes while an answer is under way."""
        if not self._refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Answer. A client that did not wait for it has no other."""
        if self.clearLineBuffer():
            self.persistent = False
            self._sent = None
        self._server.answering(self)
        super().allContentReceived()

    def requestDone(self, request: AdminRequest) -> None:
        """Wait for the next request, or for the close."""
        self._at_rest = bool(self.persistent)
        self._server.waiting(self)
        self.setTimeout(TIMEOUT)
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        """End a connection whose request does not come."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of it."""
        super().connectionLost(reason)
        self._server.gone(self)


class AdminFactory(Factory):
    """Makes the connections of the admin server, and bounds them."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        pages: Mapping[str, Page],
        streams: Mapping[str, Stream],
        wall_clock: Callable[[], float],
    ) -> None:
        """`pages` and `streams` are what there is, by path; `wall_clock` returns seconds since the epoch."""
        self.clock = clock
        self.pages = pages
        self.streams = streams
        self._wall_clock = wall_clock
        self._dated: tuple[int, str] = (-1, "")
        self._known: dict[Sent, Asked] = {}
        self._waiting: dict[AdminChannel, None] = {}
        """Those without a request under way; the one that waits for longest comes first."""
        self._answering: set[AdminChannel] = set()

    def buildProtocol(self, addr: IAddress | None) -> AdminChannel | None:
        """Make a connection. Where there are too many, an idle one ends; where none is idle, this one is refused."""
        if len(self._waiting) + len(self._answering) >= MOST_CONNECTIONS:
            if not self._waiting:
                return None
            idle = next(iter(self._waiting))
            self.gone(idle)
            idle.transport.abortConnection()
        return AdminChannel(self)

    def date(self) -> str:
        """Return the date and time, in the form of RFC 9110 section 5.6.7."""
        now = int(self._wall_clock())
        if now != self._dated[0]:
            self._dated = now, datetimeToString(now).decode("ascii")
        return self._dated[1]

    def known(self, sent: Sent | None) -> Asked | None:
        """Return what is asked by a request that was answered before."""
        return None if sent is None else self._known.get(sent)

    def learn(self, sent: Sent, asked: Asked) -> None:
        """Keep what a request asks."""
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[sent] = asked

    def waiting(self, channel: AdminChannel) -> None:
        """Take note that `channel` waits for a request."""
        self.gone(channel)
        self._waiting[channel] = None

    def answering(self, channel: AdminChannel) -> None:
        """Take note that `channel` has one."""
        self.gone(channel)
        self._answering.add(channel)

    def gone(self, channel: AdminChannel) -> None:
        """Let go of `channel`."""
        self._waiting.pop(channel, None)
        self._answering.discard(channel)

    def end_all(self) -> None:
        """End every connection now."""
        for each in (*self._waiting, *self._answering):
            each.transport.abortConnection()
