"""An HTTP server that only answers: GET and HEAD of a few paths, and nothing that a client sends is kept.

What keeps hostile clients off the echo service:

- All of it together takes a share of the time and no more, where its ports are a `BackgroundPoller`'s.
- A request has a deadline, from the connection or the answer before to the end of its headers. Bytes that drip in do
  not extend it.
- Request line and headers are bounded together; a request with a body is refused before the body is read.
- One request at a time: what comes behind one that is not answered yet is dropped, and the answer is the connection's
  last. Clients that pipeline have to be ready for that (RFC 9112 section 9.3.2).
- Connections are bounded. One more takes the place of the one that has been idle for longest.
- Paths are looked up in a table, so that there is nowhere to climb to.
- A page in a browser that reaches us under a name of its own (DNS rebinding) is refused: on a loopback address
  the Host header has to be a loopback address too, or localhost.

Reading a request takes Twisted a fifth of a millisecond, and a scraper sends the same bytes each time. So what was
asked by the last few requests is kept by their bytes, and the same bytes are not read again.
"""

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request, datetimeToString

from echod.admin.answers import HEADERS, TEXT, Answer, Asked, Page, always
from echod.core.addresses import shown_host

__all__ = ["AdminFactory", "AdminRequest"]

TIMEOUT = 20.0
"""Seconds for a request to come. No usual interval of scrapes, so none meets the close of an idle connection."""

MOST_CONNECTIONS = 32
"""Half of the descriptors that the daemon keeps from its clients: `echod.server.assembly.DESCRIPTOR_RESERVE`."""

MOST_HEADERS = 64
MOST_HEADER_BYTES = 8192

MOST_KNOWN = 64
"""Requests that are kept by their bytes: twice as many as connections. One more, and it begins anew."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

NOT_ALLOWED = always(Answer(405, TEXT, b"only GET and HEAD\n", allow="GET, HEAD"))
MISDIRECTED = always(Answer(421, TEXT, b"the Host header names another host\n"))
NOT_FOUND = always(Answer(404, TEXT, b"no such page\n"))

_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?", re.IGNORECASE)
"""RFC 9110 section 7.2."""


class AdminRequest(Request):
    """A request: answered from the table of pages."""

    channel: "AdminChannel"

    def gotLength(self, length: int | None) -> None:
        """Keep no body: there is none, or the channel refuses it."""
        self.content = BytesIO()

    def parseCookies(self) -> None:
        """Leave them: nobody asks for any."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer. What follows a question mark is nobody's."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        """Answer with what is at the path, where the request is one that is answered at all."""
        path = self.path.decode("ascii", "replace")
        if self.method not in (b"GET", b"HEAD"):
            self.answer(NOT_ALLOWED)
        elif not self._host_is_ours():
            self.answer(MISDIRECTED)
        elif path in self.channel.streams:
            self.channel.streams[path](self)
        elif path in self.channel.pages:
            asked = self._asked(self.channel.pages[path])
            self.channel.learn(asked)
            self._answer(asked)
        else:
            self.answer(NOT_FOUND)

    def answer(self, page: Page) -> None:
        """Send the whole answer."""
        self._answer(self._asked(page))

    def begin(self, kind: str) -> None:
        """Set what goes before a body that has no end yet: `kind` is its content type."""
        for name, value in {"Date": self.channel.date(), "Content-Type": kind, **HEADERS}.items():
            self.setHeader(name, value)

    def _asked(self, page: Page) -> Asked:
        return Asked(
            page,
            ",".join(self._given(b"accept")),
            head=self.method == b"HEAD",
            last=not self.channel.persistent,
        )

    def _answer(self, asked: Asked) -> None:
        self.channel.send(asked)
        self.startedWriting = 1  # or Twisted would now write a head of its own
        self.finish()

    def _given(self, name: bytes) -> list[str]:
        """Return the values of a header. They may be any bytes (RFC 9110 section 5.5), not UTF-8 alone."""
        return [each.decode("latin-1") for each in self.requestHeaders.getRawHeaders(name, [])]

    def _host_is_ours(self) -> bool:
        if not self.channel.on_loopback:
            return True
        given = self._given(b"host")
        if not given:
            # HTTP/1.0 knows no Host, and a balancer's check may do without. A browser, which rebinding takes, sends it.
            return self.clientproto == b"HTTP/1.0"
        named = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if named is None:
            return False
        host = named["host"].strip("[]").lower()
        return host == "localhost" or _is_loopback(host)


Sent = tuple[bool, bytes]
"""A request: whether it came to a loopback address, and its bytes. What it asks follows from these two."""

Stream = Callable[[AdminRequest], None]
"""What answers at a path for as long as it likes."""


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
    """Whether nothing has come of a request that is not answered yet."""
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
        self.on_loopback = _is_loopback(shown_host(getattr(self.transport.getHost(), "host", "")))
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
            self.transport.write(BAD_REQUEST)
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
        self._at_rest = True
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


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
