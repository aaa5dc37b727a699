"""A read-only HTTP server. No request changes the daemon, and no client makes memory grow.

Limits that protect the echo service from hostile clients:

- CPU: if its ports belong to a `BackgroundPoller`, all connections together get a bounded share of the time.
- Requests: GET and HEAD of a path that is a key of a table; there is no file system to climb in. Any body is refused
  before it is read.
- Host: on a loopback address the request must name a loopback address or localhost, against DNS rebinding: a web page
  that reaches this server under its own host name.
- Time: a request has one deadline, from accept or from the response before to the end of the headers. Dripping bytes
  do not extend it.
- Size: request line and headers have a common limit.
- Pipelining: one request at a time. Bytes behind a request are dropped, and its response is the last.
- Connections: a limited number. A new one above the limit replaces the one that is idle for longest.

A request that is refused gets a response, and its connection a lingering close (RFC 9112 section 9.6): after a close
with unread input, a reset could overtake the response.

twisted.web is not used. Its HTTPChannel (26.10) raises for a Content-Length of more than 4,300 digits, closes without a
response when a header is too long, and accepts two Host headers.
"""

from collections.abc import Callable, Mapping
from email.utils import formatdate
from ipaddress import ip_address
from typing import Any
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echod.admin.http_request import HTTPRequest, Refusal, RequestReader
from echod.admin.pages import TEXT, Page, Response, constant_page, response_bytes, stream_head
from echod.common.addresses import display_host

__all__ = ["AdminConnection", "AdminFactory", "EventStream", "StreamHandler"]

TIMEOUT = 20.0
"""Seconds for a request to arrive. Not a usual scrape interval: no scrape meets the close of its idle connection."""

LINGER = 2.0
"""Seconds for which input is discarded after the last response."""

FINISH = 0.5
"""Seconds for which a server that stops waits for requests that are on their way, and for clients to close."""

MAX_CONNECTIONS = 32
"""Half of the descriptors that are not for echo connections: `echod.server.assembly.DESCRIPTOR_RESERVE`."""

METHODS = ("GET", "HEAD")

METHOD_NOT_ALLOWED = constant_page(Response(405, TEXT, b"the method must be GET or HEAD\n", allow="GET, HEAD"))
BODY_NOT_ALLOWED = constant_page(Response(400, TEXT, b"a request must not have a body\n"))
MISDIRECTED = constant_page(Response(421, TEXT, b"the Host header names another host\n"))
NOT_FOUND = constant_page(Response(404, TEXT, b"no such page\n"))


class EventStream(Interface):
    """A response body that has no end."""

    def pause(self) -> None:
        """Write no more: the transport's buffer is full."""

    def resume(self) -> None:
        """Write again."""

    def ended(self) -> None:
        """Forget the connection: it is over."""


StreamHandler = Callable[["AdminConnection", HTTPRequest], None]
"""Responds to a request with a body that has no end."""


def is_loopback(host: str) -> bool:
    """Whether `host` is the text of a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@implementer(IHalfCloseableProtocol, IPushProducer)
class AdminConnection(Protocol):
    """A connection of the admin server."""

    transport: Any
    on_loopback = False
    """Whether the server's address of this connection is a loopback address."""

    def __init__(self, server: "AdminFactory") -> None:
        self._server = server
        self._reader = RequestReader()
        self._stream: EventStream | None = None
        self._closing = False
        """Whether the last response is written: input is discarded."""
        self._responded = False

    def connectionMade(self) -> None:
        """Register as idle and start the deadline."""
        self.on_loopback = is_loopback(display_host(getattr(self.transport.getHost(), "host", "")))
        self._timer = self._server.clock.callLater(TIMEOUT, self.abort)
        self._server.add_idle(self)
        # A client that does not read its responses is read no further.
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Respond once the request is complete."""
        if self._closing or self._stream is not None:
            return
        request = self._reader.feed(data)
        if request is None:
            return
        self._reader = RequestReader()
        if isinstance(request, Refusal):
            refused = Response(request.status, TEXT, f"{request.reason}\n".encode("ascii"))
            self._send(refused, head_only=request.head_only, close=True)
        else:
            self._respond_to(request)

    def respond(self, request: HTTPRequest, page: Page) -> None:
        """Send the whole response."""
        self._send(page(request.accept), head_only=request.method == "HEAD", close=not request.keep_open)

    def begin_stream(self, content_type: str, stream: EventStream) -> None:
        """Send the head of a response that has no end; `write` sends parts of its body."""
        self._stream = stream
        self._timer.cancel()
        self._server.add_busy(self)
        self.transport.write(stream_head(content_type, self._server.date()))

    def write(self, data: bytes) -> None:
        """Send a part of a stream."""
        self.transport.write(data)

    def finish(self) -> None:
        """Close, at once or, if the client has not had a response yet, with the first response."""
        if self._responded and not self._closing:
            self._closing = True
            self._shut()

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """Close once all responses are written; a stream at once, because its client is gone or will not stay."""
        self._closing = True
        if self._stream is not None:
            self.abort()
        else:
            self._stop_pausing()
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Linger: the kernel has the last response and the FIN."""
        self._timer.cancel()
        self._timer = self._server.clock.callLater(LINGER, self.transport.loseConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Remove the connection from the factory and from its stream."""
        if self._timer.active():
            self._timer.cancel()
        self._server.connection_lost(self)
        if self._stream is not None:
            self._stream.ended()

    # IPushProducer

    def pauseProducing(self) -> None:
        """Read no more, and pause the stream."""
        self.transport.pauseProducing()
        if self._stream is not None:
            self._stream.pause()

    def resumeProducing(self) -> None:
        """Read again, and resume the stream."""
        self.transport.resumeProducing()
        if self._stream is not None:
            self._stream.resume()

    def stopProducing(self) -> None:
        """No-op: `connectionLost` follows."""

    def _respond_to(self, request: HTTPRequest) -> None:
        server = self._server
        if request.method not in METHODS:
            self.respond(request, METHOD_NOT_ALLOWED)
        elif request.has_body:
            self.respond(request, BODY_NOT_ALLOWED)
        elif not self._is_host_valid(request.host):
            self.respond(request, MISDIRECTED)
        elif request.path in server.streams:
            server.streams[request.path](self, request)
        else:
            self.respond(request, server.pages.get(request.path, NOT_FOUND))

    def _is_host_valid(self, host: str | None) -> bool:
        # HTTP/1.0 has no Host, and a balancer's check may omit it. Browsers, which DNS rebinding needs, send it.
        return not self.on_loopback or host is None or host == "localhost" or is_loopback(host)

    def _send(self, response: Response, *, head_only: bool, close: bool) -> None:
        """Send the response in one piece, and restart the deadline: for the next request, or for the client's FIN."""
        self._server.add_idle(self)
        self._timer.reset(TIMEOUT)
        self._responded = True
        self._closing = close = close or self._server.finishing
        self.transport.write(response_bytes(response, self._server.date(), head_only=head_only, close=close))
        if close:
            self._shut()

    def _shut(self) -> None:
        self._stop_pausing()
        self.transport.loseWriteConnection()

    def _stop_pausing(self) -> None:
        # A transport with a registered and paused producer never closes.
        self.transport.unregisterProducer()
        self.transport.resumeProducing()


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
        self._idle: dict[AdminConnection, None] = {}
        """Connections without a stream, the longest idle first."""
        self._busy: set[AdminConnection] = set()
        """Connections with a stream."""
        self._finished: Deferred[None] | None = None
        """Fires when a server that stops has no more connections; None: it does not stop, or has fired."""
        self.finishing = False
        """Whether the server stops: each response is the last one of its connection."""

    def buildProtocol(self, addr: IAddress | None) -> AdminConnection | None:
        """Return a new connection; at the limit abort the longest idle one, or return None if none is idle."""
        if len(self._idle) + len(self._busy) >= MAX_CONNECTIONS:
            if not self._idle:
                return None
            longest_idle = next(iter(self._idle))
            self.remove(longest_idle)
            longest_idle.abort()
        return AdminConnection(self)

    def date(self) -> str:
        """Return the current date and time in the form of RFC 9110 section 5.6.7."""
        now = int(self._wall_clock())
        if now != self._date[0]:
            self._date = now, formatdate(now, usegmt=True)
        return self._date[1]

    def add_idle(self, connection: AdminConnection) -> None:
        """Register `connection` as idle from now on."""
        self.remove(connection)
        self._idle[connection] = None

    def add_busy(self, connection: AdminConnection) -> None:
        """Register `connection` as having a stream."""
        self.remove(connection)
        self._busy.add(connection)

    def remove(self, connection: AdminConnection) -> None:
        """Remove `connection`."""
        self._idle.pop(connection, None)
        self._busy.discard(connection)

    def connection_lost(self, connection: AdminConnection) -> None:
        """Remove `connection`, which has ended; it may be the last one of a server that stops."""
        self.remove(connection)
        self._end_if_finished()

    def finish(self) -> "Deferred[None]":
        """Close all connections in order; the Deferred fires when none is left. Called after the ports are closed.

        A client that has connected and has no response yet gets one. After `FINISH` seconds the rest is aborted.
        """
        self.finishing = True
        finished = self._finished = Deferred[None]()
        timer = self.clock.callLater(FINISH, self.abort_all)
        for stream in tuple(self._busy):
            stream.abort()
        for connection in tuple(self._idle):
            connection.finish()
        self._end_if_finished()

        def stop_timer(_: None) -> None:
            if timer.active():
                timer.cancel()

        return finished.addCallback(stop_timer)

    def _end_if_finished(self) -> None:
        if self._finished is not None and not self._idle and not self._busy:
            finished, self._finished = self._finished, None
            finished.callback(None)

    def abort_all(self) -> None:
        """Abort every connection."""
        for connection in (*self._idle, *self._busy):
            connection.abort()
