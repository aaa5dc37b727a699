"""A read-only HTTP server. No request changes the daemon, and no client makes memory grow.

Limits that protect the echo service from hostile clients:

- CPU: if its ports belong to a `BackgroundPoller`, all connections together get a bounded share of the time.
- Requests: GET and HEAD of a path that is a key of a table; there is no file system to climb in. Any body is refused
  before it is read.
- Host: on a loopback address the Host header must be a loopback address or localhost, against DNS rebinding: a web page
  that reaches this server under its own host name.
- Time: a request has one deadline, from accept or from the response before to the end of the headers. Dripping bytes
  do not extend it.
- Size: request line and headers have a common limit.
- Pipelining: one request at a time. Bytes behind a request that is not answered yet are dropped, and its response is
  the last of the connection; RFC 9112 section 9.3.2 requires pipelining clients to handle that.
- Connections: a limited number. A new one above the limit replaces the one that is idle for longest.

Twisted takes a fifth of a millisecond to parse a request, and a scraper sends the same bytes each time. So the parsed
requests are cached by their bytes.
"""

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from ipaddress import ip_address
from typing import Any, NamedTuple

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request, datetimeToString

from echod.admin.pages import HEADERS, TEXT, Page, PageRequest, Response, constant_page
from echod.common.addresses import display_host

__all__ = ["AdminFactory", "AdminRequest", "StreamHandler"]

TIMEOUT = 20.0
"""Seconds for a request to arrive. Not a usual scrape interval: no scrape meets the close of its idle connection."""

MAX_CONNECTIONS = 32
"""Half of the descriptors that are not for echo connections: `echod.server.assembly.DESCRIPTOR_RESERVE`."""

MAX_HEADERS = 64
MAX_HEADER_BYTES = 8192

MAX_CACHED_REQUESTS = 64
"""Twice `MAX_CONNECTIONS`. A full cache is emptied."""

METHODS = (b"GET", b"HEAD")

METHOD_NOT_ALLOWED = constant_page(Response(405, TEXT, b"the method must be GET or HEAD\n", allow="GET, HEAD"))
BODY_NOT_ALLOWED = constant_page(Response(400, TEXT, b"a request must not have a body\n"))
MISDIRECTED = constant_page(Response(421, TEXT, b"the Host header names another host\n"))
NOT_FOUND = constant_page(Response(404, TEXT, b"no such page\n"))

_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?", re.IGNORECASE)
"""Host header: RFC 9110 section 7.2."""


class RequestKey(NamedTuple):
    """The cache key of a request; the parsed request depends on nothing else."""

    on_loopback: bool
    """Whether the server's address of the connection is a loopback address."""
    data: bytes


class AdminRequest(Request):
    """A request for a page or an event stream."""

    channel: "AdminChannel"

    def gotLength(self, length: int | None) -> None:
        """Prepare for no body: the channel refuses requests that have one."""
        self.content = BytesIO()

    def parseCookies(self) -> None:
        """Skip cookies: no page depends on one."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process the request. Query strings are ignored."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        """Respond with the page or stream of the path, or with an error."""
        path = self.path.decode("ascii", "replace")
        if self.method not in METHODS:
            self.respond(METHOD_NOT_ALLOWED)
        elif not self._is_host_valid():
            self.respond(MISDIRECTED)
        elif path in self.channel.streams:
            self.channel.streams[path](self)
        elif path in self.channel.pages:
            request = self._page_request(self.channel.pages[path])
            self.channel.cache(request)
            self._send_response(request)
        else:
            self.respond(NOT_FOUND)

    def respond(self, page: Page) -> None:
        """Send the whole response."""
        self._send_response(self._page_request(page))

    def begin_stream(self, content_type: str) -> None:
        """Set the headers of a response whose body has no known end."""
        for name, value in {"Date": self.channel.date(), "Content-Type": content_type, **HEADERS}.items():
            self.setHeader(name, value)

    def _page_request(self, page: Page) -> PageRequest:
        return PageRequest(
            page,
            ",".join(self._header_values(b"accept")),
            head_only=self.method == b"HEAD",
            close=not self.channel.persistent,
        )

    def _send_response(self, request: PageRequest) -> None:
        self.channel.send(request)
        self.startedWriting = 1  # else Twisted would write a second head
        self.finish()

    def _header_values(self, name: bytes) -> list[str]:
        """Return the values of a header, decoded as Latin-1: any byte is allowed (RFC 9110 section 5.5)."""
        return [value.decode("latin-1") for value in self.requestHeaders.getRawHeaders(name, [])]

    def _is_host_valid(self) -> bool:
        if not self.channel.on_loopback:
            return True
        values = self._header_values(b"host")
        if not values:
            # HTTP/1.0 has no Host, and a balancer's check may omit it. Browsers, which DNS rebinding needs, send it.
            return self.clientproto == b"HTTP/1.0"
        match = _HOST.fullmatch(values[0]) if len(values) == 1 else None
        if match is None:
            return False
        host = match["host"].strip("[]").lower()
        return host == "localhost" or is_loopback(host)


StreamHandler = Callable[[AdminRequest], None]
"""Responds to a request with a body that has no end."""


def is_loopback(host: str) -> bool:
    """Whether `host` is the text of a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class AdminChannel(HTTPChannel):
    """A connection of the admin server."""

    maxHeaders = MAX_HEADERS
    totalHeadersSize = MAX_HEADER_BYTES
    MAX_LENGTH = MAX_HEADER_BYTES
    requestFactory = AdminRequest
    timeOut: float | None = TIMEOUT  # type: ignore[assignment]  # Twisted declares int, and takes any number
    transport: Any
    on_loopback = False
    """Whether the server's address of this connection is a loopback address."""
    _refused = False
    _idle = True
    """Whether no byte of a request has arrived since the response before."""
    _request_key: RequestKey | None = None
    """Cache key of the current request; None if it arrived in pieces or with more bytes behind it."""

    def __init__(self, server: "AdminFactory") -> None:
        super().__init__()
        self.callLater = server.clock.callLater  # type: ignore[method-assign, assignment]  # as Twisted's HTTPFactory does
        self.pages = server.pages
        self.streams = server.streams
        self.date = server.date
        self._server = server

    def connectionMade(self) -> None:
        """Register as idle and start the deadline."""
        super().connectionMade()
        self.on_loopback = is_loopback(display_host(getattr(self.transport.getHost(), "host", "")))
        self._server.add_idle(self)

    def resetTimeout(self) -> None:
        """No-op: bytes of a request do not extend its deadline."""

    def dataReceived(self, data: bytes) -> None:
        """Respond to a cached request; parse any other."""
        self._request_key = RequestKey(self.on_loopback, data) if self._idle else None
        request = self._server.cached(self._request_key)
        if request is None:
            self._idle = False
            super().dataReceived(data)
            return
        self._idle = not request.close
        self._server.add_idle(self)
        self.setTimeout(TIMEOUT)
        self.send(request)
        if request.close:
            self.loseConnection()

    def send(self, request: PageRequest) -> None:
        """Send the response in one piece."""
        self.transport.write(request.response_bytes(self.date()))

    def cache(self, request: PageRequest) -> None:
        """Cache the current request, if it has a key."""
        if self._request_key is not None:
            self._server.cache(self._request_key, request)

    def allHeadersReceived(self) -> None:
        """Refuse a request that has a body."""
        if self.length == 0:
            super().allHeadersReceived()
        else:
            self._refused = True
            self.send(PageRequest(BODY_NOT_ALLOWED if self._command in METHODS else METHOD_NOT_ALLOWED, close=True))
            self.loseConnection()

    def rawDataReceived(self, data: bytes) -> None:
        """Drop the body of a refused request; pass on any other bytes."""
        if not self._refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Process the request; if more bytes are behind it, close the connection after the response."""
        if self.clearLineBuffer():
            self.persistent = False
            self._request_key = None
        self._server.add_busy(self)
        super().allContentReceived()

    def requestDone(self, request: AdminRequest) -> None:
        """Restart the deadline: for the next request, or for the client's close."""
        self._idle = bool(self.persistent)
        self._server.add_idle(self)
        self.setTimeout(TIMEOUT)
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        """Abort the connection at its deadline."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Remove the connection from the factory, then let Twisted end its requests, which may raise."""
        self._server.remove(self)
        super().connectionLost(reason)


class AdminFactory(Factory):
    """Creates the connections of the admin server and limits their number."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        pages: Mapping[str, Page],
        streams: Mapping[str, StreamHandler],
        wall_clock: Callable[[], float],
    ) -> None:
        """`pages` and `streams` are by path; `wall_clock` returns seconds since the epoch."""
        self.clock = clock
        self.pages = pages
        self.streams = streams
        self._wall_clock = wall_clock
        self._date: tuple[int, str] = (-1, "")
        """Seconds since the epoch, and their text."""
        self._cached: dict[RequestKey, PageRequest] = {}
        self._idle: dict[AdminChannel, None] = {}
        """Connections without a current request, the longest idle first."""
        self._busy: set[AdminChannel] = set()
        """Connections with a current request."""

    def buildProtocol(self, addr: IAddress | None) -> AdminChannel | None:
        """Return a new connection; at the limit abort the longest idle one, or return None if none is idle."""
        if len(self._idle) + len(self._busy) >= MAX_CONNECTIONS:
            if not self._idle:
                return None
            longest_idle = next(iter(self._idle))
            self.remove(longest_idle)
            longest_idle.transport.abortConnection()
        return AdminChannel(self)

    def date(self) -> str:
        """Return the current date and time in the form of RFC 9110 section 5.6.7."""
        now = int(self._wall_clock())
        if now != self._date[0]:
            self._date = now, datetimeToString(now).decode("ascii")
        return self._date[1]

    def cached(self, key: RequestKey | None) -> PageRequest | None:
        """Return the cached request of `key`, or None."""
        return None if key is None else self._cached.get(key)

    def cache(self, key: RequestKey, request: PageRequest) -> None:
        """Cache a request."""
        if len(self._cached) >= MAX_CACHED_REQUESTS:
            self._cached.clear()
        self._cached[key] = request

    def add_idle(self, channel: AdminChannel) -> None:
        """Register `channel` as idle from now on."""
        self.remove(channel)
        self._idle[channel] = None

    def add_busy(self, channel: AdminChannel) -> None:
        """Register `channel` as having a current request."""
        self.remove(channel)
        self._busy.add(channel)

    def remove(self, channel: AdminChannel) -> None:
        """Remove `channel`."""
        self._idle.pop(channel, None)
        self._busy.discard(channel)

    def abort_all(self) -> None:
        """Abort every connection."""
        for channel in (*self._idle, *self._busy):
            channel.transport.abortConnection()
